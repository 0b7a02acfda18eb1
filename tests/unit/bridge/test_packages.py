import pytest

from bcai.bridge.guest.packages import distribution_of


@pytest.mark.parametrize(
    ("module", "distribution"),
    [
        ("sklearn", "scikit-learn"),
        ("sklearn.svm", "scikit-learn"),
        ("cv2", "opencv-python"),
        ("PIL.Image", "pillow"),
        ("yaml", "pyyaml"),
        ("pandas", "pandas"),
        ("google.protobuf", "protobuf"),
    ],
)
def test_what_to_install(module: str, distribution: str) -> None:
    assert distribution_of(module) == distribution
