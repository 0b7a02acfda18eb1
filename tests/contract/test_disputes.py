"""The paths of disputes: who may come, and what is not taken at one side's word."""

import pytest

from bcai.cli.main import main
from bcai.cluster.store.protocol import Role

from .gateway_process import SECRETS, Gateway, submitted

HEAD = {"size": 3, "root": "ab" * 32}


def test_that_a_node_lied_is_not_taken_at_a_challengers_word(gateway: Gateway) -> None:
    with gateway.client() as client:
        job_id = submitted(client)
    with gateway.client(Role.NODE) as challenger:
        told = {"message": "state of checkpoint 1 differs"}
        agreed = challenger.post(f"/v1/audits/{job_id}", json=told)
        lie = challenger.post(f"/v1/audits/{job_id}", json={**told, "code": "replay.differs"})
        accused = challenger.post(f"/v1/audits/{job_id}/accusation", json={"code": "receipt.job"})
    assert agreed.status_code == 404  # it is read, and there is no result to settle
    assert lie.status_code == 422
    assert [each["pointer"] for each in lie.json()["errors"]] == ["/code"]
    assert accused.status_code == 404


@pytest.mark.parametrize(("role", "status"), [(Role.CLIENT, 403), (Role.NODE, 404)])
def test_disputes_are_for_challengers_and_about_results(
    gateway: Gateway, role: Role, status: int
) -> None:
    with gateway.client() as client:
        job_id = submitted(client)
    path = f"/v1/audits/{job_id}/dispute"
    with gateway.client(role) as caller:
        assert caller.post(path, json=HEAD).status_code == status
        accusation = {"code": "outputs.delivered"}
        path_of_it = f"/v1/audits/{job_id}/accusation"
        assert caller.post(path_of_it, json=accusation).status_code == status
        assert caller.get(path).status_code == status
        said = {"round": 0, "answer": None}
        assert caller.post(f"{path}/answers", json=said).status_code == status


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("dispute", {**HEAD, "size": 0}, "/size"),
        ("dispute", {**HEAD, "root": "AB" * 32}, "/root"),
        ("accusation", {"code": "Outputs!"}, "/code"),
        ("accusation", {"message": "something is wrong"}, "/code"),
        ("dispute/answers", {"round": -1}, "/round"),
        ("dispute/answers", {"round": 0, "answer": "blake3:12"}, "/answer"),
    ],
)
def test_what_is_wrong_is_named(
    gateway: Gateway, path: str, body: dict[str, object], pointer: str
) -> None:
    with gateway.client(Role.NODE) as challenger:
        answer = challenger.post(f"/v1/audits/job_{'0' * 26}/{path}", json=body)
    assert answer.status_code == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("role", "says"),
    [(Role.ADMIN, "no result of a job '{job_id}' is checked"), (Role.NODE, "'last'")],
)
def test_a_challenger_knows_the_last_job_where_its_key_may_list_jobs(
    gateway: Gateway,
    role: Role,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with gateway.client() as client:
        job_id = submitted(client)
    monkeypatch.setenv("BCAI_HOME", str(gateway.home))
    monkeypatch.setenv("BCAI_CONFIG", str(gateway.home / "none.toml"))
    monkeypatch.setenv("BCAI_ENDPOINT", gateway.url)
    monkeypatch.setenv("BCAI_API_KEY", SECRETS[role])
    with pytest.raises(SystemExit) as ended:
        main(("node", "challenge", "--job", "last"))
    assert ended.value.code != 0
    assert says.format(job_id=job_id) in capsys.readouterr().err
