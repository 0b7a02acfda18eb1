"""A gateway that cannot begin says why, in one error."""

from pathlib import Path
from typing import cast

import pytest

from bcai.base.errors import FormatError
from bcai.cluster.gateway.services import KEY_FILE, running_services
from bcai.cluster.store.protocol import BlobStore, JobStore
from bcai.settings import Settings

pytestmark = pytest.mark.anyio


class Store:
    """A store that is to be left alone."""

    async def start(self) -> None:
        raise AssertionError("it was started")


async def test_a_damaged_key_is_named_before_anything_is_opened(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    settings.network_folder.mkdir()
    file = settings.network_folder / KEY_FILE
    file.touch(mode=0o600)
    store, blobs = cast("JobStore", Store()), cast("BlobStore", None)
    with pytest.raises(FormatError, match=KEY_FILE):
        async with running_services(settings, store, blobs):
            pass
