"""Do the heat maps locate lesions? Tests on the phantom, where the position of each lesion is known.

``measures`` (arrays in, numbers out), ``samples`` (slices, their lesion-free twins, and where they differ),
``experiments`` (what is done to the network), ``findings`` (each measurement against its limit), ``command``
(``python -m scripts trust``).

Sources: Adebayo et al. 2018, NeurIPS (sanity checks by randomisation); Arun et al. 2021, Radiology: AI 3:e200267
(utility, repeatability, reproducibility), doi:10.1148/ryai.2021200267.
"""
