import struct

import pytest

from bcai.bridge.sandbox import landlock


@pytest.mark.parametrize(("abi", "bits"), [(1, 13), (2, 14), (3, 15), (4, 15), (5, 16), (9, 16)])
def test_handled_access_grows_with_the_abi(abi: int, bits: int) -> None:
    assert landlock.handled_access(abi) == (1 << bits) - 1


@pytest.mark.parametrize(("abi", "fields"), [(1, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)])
def test_attributes_have_the_length_that_the_kernel_knows(abi: int, fields: int) -> None:
    values = struct.unpack(f"={fields}Q", landlock.ruleset_attributes(abi))
    assert values[0] == landlock.handled_access(abi)
    assert values[1:] == (3, 3)[: fields - 1]


@pytest.mark.parametrize("abi", range(1, 10))
def test_rules_never_name_what_the_kernel_does_not_know(abi: int) -> None:
    for access in (landlock.READ, landlock.WRITE, landlock.DEVICE):
        allowed = landlock.allowed_access(abi, access, is_folder=True)
        assert allowed & ~landlock.handled_access(abi) == 0


def test_nothing_may_be_executed_and_no_device_made() -> None:
    for access in (landlock.READ, landlock.WRITE, landlock.DEVICE):
        assert not access & (landlock.EXECUTE | landlock.MAKE_CHAR | landlock.MAKE_BLOCK)


def test_reading_does_not_include_writing() -> None:
    assert not landlock.READ & (landlock.WRITE & ~landlock.READ)
    assert not landlock.READ & (landlock.WRITE_FILE | landlock.TRUNCATE | landlock.MAKE_REG)


def test_rules_on_files_leave_out_rights_of_folders() -> None:
    allowed = landlock.allowed_access(7, landlock.WRITE, is_folder=False)
    assert allowed == landlock.WRITE_FILE | landlock.READ_FILE | landlock.TRUNCATE
