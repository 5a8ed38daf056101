"""Which packages the wheel holds; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["TernarySegmentLib*"]), "TernarySegmentLib.Resources"],
    # beside the library for Slicer, whose Resources folder this is; inside it once installed as a wheel
    package_dir={"TernarySegmentLib.Resources": "Resources"},
)
