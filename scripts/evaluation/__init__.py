"""The statistics of the study: arrays in, numbers out.

Slices are clustered in patients, and the patient is the unit of independence: every interval and test here resamples,
permutes or sums over patients, so that writing each slice twice changes nothing.

| question | module |
|---|---|
| how well are slices ranked? pooled, mean and median AUC | ``auc``, ``per_patient`` |
| sensitivity, specificity, PPV, NPV, F1 ... at a threshold | ``proportions`` |
| does one model, or one subgroup, do better? | ``comparisons`` |
| do two groups of patients differ? (Table 1) | ``groups`` |
| are probabilities honest? | ``calibration``, ``platt`` |
| which threshold? | ``operating_points`` |
| how much of the cord, per patient and per disc level? | ``coding``, ``patient_rules`` |
| do readers, or two codings, agree? | ``agreement`` |
| how many patients does a study need? | ``designs``, ``planning`` |
| do masks and measures fit the truth? what does shape alone find? | ``morphometry`` |

Whether the intervals cover is measured by ``python -m bundle simulate``, see docs/simulation.md.
"""
