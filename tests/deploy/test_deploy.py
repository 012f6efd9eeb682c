"""The files in deploy/: each is read by a parser of its kind, its commands by pixtral, its metrics are those that there are."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from dockerfile_parse import DockerfileParser

from pixtral_cli.server.metrics import Metrics
from tests.test_docs import parse

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
PROGRAM = "/opt/pixtral/.venv/bin/pixtral"


def test_the_container_is_built_from_files_that_are_there_and_runs_a_command_that_parses() -> None:
    with (DEPLOY / "Containerfile").open("rb") as stream:
        found = DockerfileParser(fileobj=stream).structure
    steps = [(step["instruction"], step["value"]) for step in found if step["instruction"] != "COMMENT"]
    assert steps[0][0] == "FROM"
    assert {name for name, _ in steps} <= {
        "FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD",
    }  # fmt: skip
    for name, value in steps:
        for source in value.split()[:-1] if name == "COPY" else ():
            assert (ROOT / source).exists(), source
        if name == "RUN":
            checked = subprocess.run(["sh", "-n", "-c", value], capture_output=True, text=True, check=False)
            assert checked.returncode == 0, checked.stderr
    last = dict(steps)
    assert json.loads(last["ENTRYPOINT"]) == ["pixtral"]
    parse(json.loads(last["CMD"]))
    health = json.loads(last["HEALTHCHECK"].partition("CMD ")[2])
    compile(health[2], "healthcheck", "exec")
    assert last["USER"] not in ("root", "0")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_a_unit_runs_a_command_that_parses_and_ends_before_systemd_kills_it(unit: Path) -> None:
    settings = dict(
        line.split("=", 1) for line in unit.read_text(encoding="utf-8").splitlines() if re.match(r"\w+=", line)
    )
    program, *words = shlex.split(settings["ExecStart"])
    assert program == PROGRAM
    parse([*({"${PIXTRAL_FIRST}": "10.0.0.1:8790", "%i": "1"}.get(word, word) for word in words),
           *(("--token", "t") if words[0] == "join" else ())])  # fmt: skip
    assert int(settings["TimeoutStopSec"]) >= 45  # 28 s for the answers, 15 s for vLLM


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_systemd_reads_a_unit_without_a_word(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text(encoding="utf-8").replace(PROGRAM, sys.executable)
    copy = tmp_path / unit.name.replace("@.", "@1.")
    copy.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    about_it = [line for line in (done.stdout + done.stderr).splitlines() if copy.name in line]
    assert not about_it


def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")))


def pod_templates() -> Iterator[dict[str, Any]]:
    (group,) = [one for one in documents() if one["kind"] == "LeaderWorkerSet"]
    yield group["spec"]["leaderWorkerTemplate"]["leaderTemplate"]
    yield group["spec"]["leaderWorkerTemplate"]["workerTemplate"]


def test_the_manifest_is_whole_and_its_parts_name_each_other() -> None:
    kinds = {one["kind"]: one for one in documents()}
    assert all(one["apiVersion"] and one["metadata"]["name"] == "pixtral" for one in kinds.values())
    secret = {("pixtral", key) for key in kinds["Secret"]["stringData"]}
    for template in pod_templates():
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        (container,) = template["spec"]["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        for variable in container["env"]:
            source = variable["valueFrom"]["secretKeyRef"]
            assert (source["name"], source["key"]) in secret
        assert template["spec"]["terminationGracePeriodSeconds"] >= 45
        assert (
            kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items()
            <= template["metadata"]["labels"].items()
        )
    first, other = pod_templates()
    selector = kinds["Service"]["spec"]["selector"].items()
    assert selector <= first["metadata"]["labels"].items()
    assert not selector <= other["metadata"]["labels"].items()
    ports = {port["name"] for port in first["spec"]["containers"][0]["ports"]}
    assert kinds["Service"]["spec"]["ports"][0]["targetPort"] in ports


def test_the_pods_commands_parse_and_agree_about_the_number_of_machines() -> None:
    (group,) = [one for one in documents() if one["kind"] == "LeaderWorkerSet"]
    first, other = ([str(word) for word in one["spec"]["containers"][0]["args"]] for one in pod_templates())
    parse(first)
    known = {"$(LWS_LEADER_ADDRESS)": "pixtral-0.pixtral", "$(LWS_WORKER_INDEX)": "1"}
    for name, value in known.items():
        other = [word.replace(name, value) for word in other]
    parse([*other, "--token", "t"])
    assert not any("$(" in word for word in other)
    assert f"--nodes={group['spec']['leaderWorkerTemplate']['size']}" in first


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "prometheus-rules.yaml").read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_a_rule_is_promql_about_metrics_that_there_are(rule: dict[str, Any]) -> None:
    promql_parser.parse(rule["expr"])
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
    replica = {"replica": 0, "ranks": [0, 1], "up": True, "running": 1, "answers": 2, "restarts": 3}
    text = Metrics().text(up=True, deaths=0, running=0, waiting=0, replicas=[replica])
    there = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    named = set(re.findall(r"\bpixtral_\w+", rule["expr"]))
    assert named
    assert named <= there
    labels = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert labels <= {"instance", "replica", "ranks"}
    assert not labels & {"replica", "ranks"} or "pixtral_replica_" in rule["expr"]
