"""Build everything the configs describe, from a folder that is not the bundle's; a program that knows MONAI only.

``python instantiate.py BUNDLE COHORT OUT``; run as a file, so that ``scripts`` is the bundle's own.
"""

import os
import sys
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow


def build(bundle: Path, names: list[str], wanted: list[str], kind: str = "", **overrides: Any) -> ConfigWorkflow:
    """Initialise a workflow and instantiate some of its keys; a text is a value, whatever MONAI would read in it."""
    texts = {name: value for name, value in {"bundle_root": str(bundle), **overrides}.items() if isinstance(value, str)}
    values: dict[str, Any] = {name: f"$@texts[{number}]" for number, name in enumerate(texts)}
    workflow = ConfigWorkflow(
        config_file=[str(bundle / "configs" / name) for name in names],
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=str(bundle / "configs" / "logging.conf"),
        workflow_type=kind or None,
        texts=tuple(texts.values()),
        **{**overrides, **values},
    )
    workflow.initialize()
    for key in wanted:
        workflow.parser.get_parsed_content(key)
    missing = workflow.check_properties() if kind else []
    if missing:
        raise SystemExit(f"{names[-1]} lacks {', '.join(missing)}")
    return workflow


def main(bundle: Path, cohort: str, out: Path) -> None:
    """Build all configs; any exception names the config in its traceback."""
    common = {"output_dir": str(out), "ckpt_dir": str(out)}
    data: dict[str, Any] = {**common, "dataset_dir": cohort, "num_workers": 0, "weights": None}
    train = build(bundle, ["train.json"], ["train#trainer", "validate#evaluator"], "train", **data).parser
    from scripts import checkpoints  # the bundle's own: the workflow has put its folder on sys.path

    if not Path(checkpoints.__file__).is_relative_to(bundle):
        raise SystemExit(f"scripts came from {checkpoints.__file__}, not from {bundle}")
    path, settings = out / "model.pt", train.get_parsed_content("checkpoint_settings")
    checkpoints.save(path, train.get_parsed_content("network"), settings)
    images = {**common, "ckpt_path": str(path), "dataset_dir": cohort}
    build(bundle, ["inference.json"], ["evaluator"], "infer", **images)
    evaluate = {**data, "ckpt_path": str(path)}
    build(bundle, ["train.json", "evaluate.json"], ["validate#evaluator"], **evaluate)
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    build(bundle, ["train.json", "multi_gpu_train.json"], ["train#trainer"], **data).finalize()
    files = ["train.json", "evaluate.json", "multi_gpu_evaluate.json"]
    build(bundle, files, ["validate#evaluator"], **evaluate).finalize()
    for overlay in sorted((bundle / "configs").rglob("*.json")):
        name = overlay.relative_to(bundle / "configs").as_posix()
        if name in ("quickstart.json", "tasks.json") or name.startswith("heads/"):
            build(bundle, ["train.json", name], ["network_def", "optimizer", "loss"], **data)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
