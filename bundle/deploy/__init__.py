"""The MONAI Deploy application; ``python -m bundle deploy`` puts it into a folder with ``scripts`` beside it."""
