"""The MONAI Deploy application; ``python -m bundle deploy`` puts it into a folder of its own, with ``scripts`` beside."""
