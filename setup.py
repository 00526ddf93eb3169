"""Package: the four import packages by name, the released model, what they need, and the optional extras."""

from setuptools import find_packages, setup

RELEASED = ["universal_unet/2/**", "lymphocyte/1/**", "README.md"]  # the released models and their terms

setup(
    name="hou-synth",
    version="0.1.0",
    description="Nucleus segmentation for H&E histopathology, trained without labels (Hou et al., CVPR 2019)",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["hou_synth*", "models*", "data*", "train*"]), "saved_models"],
    package_data={"saved_models": RELEASED, "train.web": ["page.*", "*.js"]},
    entry_points={"console_scripts": ["hou-synth = hou_synth.commands:main"]},
    install_requires=[
        "tensorflow>=2.20",
        "keras>=3.15",
        "numpy>=2.1",
        "opencv-python-headless>=4.12",  # opencv-python without its windows: imports on a server without a display
        "scikit-image>=0.26",
        "scipy>=1.14.1",
        "h5py>=3.12",
        "defusedxml>=0.7.1",
        "pydantic>=2.12",
        "tifffile>=2025.1.10",
        "pillow>=11.3",  # what an image says about itself: EXIF, frames
        "matplotlib>=3.10.7",
        "tensorboard>=2.20",
        "tensorflow-serving-api>=2.19",  # warm-up requests in exports, gRPC; follows TensorFlow's version
        "aiohttp>=3.11",
        "openslide-python>=1.4",
        "openslide-bin>=4.0.1",  # the library itself, so that slides open without a system package
        "tqdm>=4.66",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.20"],
        "page": ["statsmodels>=0.14.5"],  # agreement of readers
        "dask": ["dask[distributed]>=2024.1"],
        "openvino": ["openvino>=2025.0"],
        "parquet": ["pyarrow>=18"],
        "onnx": ["tf2onnx>=1.17", "onnx>=1.18", "onnxruntime>=1.20"],
        "dev": [
            "pytest>=8",
            "hypothesis>=6.100",
            "pytest-xdist>=3.5",
            "requests>=2.31",
            "trustme>=1",
            "ruff>=0.8",
            "dask[distributed]>=2024.1",
            "tf2onnx>=1.17",
            "onnx>=1.18",
            "onnxruntime>=1.20",
            "statsmodels>=0.14.5",
            "playwright>=1.50",  # drives the system's chromium
            "axe-playwright-python>=0.1.4",
            "openvino>=2025.0",
            "pyarrow>=18",
        ],
    },
)
