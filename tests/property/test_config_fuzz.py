"""Whatever a file and variables say, the settings are usable or refused, and a refusal names what is wrong."""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.config import CONFIG_VARIABLE, ConfigError, Settings, describe, load, policy_stated
from cxstream.config.inventory import GROUPS, SETTINGS
from cxstream.config.showing import as_written, to_toml
from cxstream.engine.policies import fingerprint_of
from cxstream.worker import engine_settings, logging_config, residue_key, topic_roles, topics_of
from parts.trials import tried

NAMES = {setting.name: setting for setting in SETTINGS}
DEFAULTS = {name: value for name, value in as_written(Settings()).items() if value is not None}
LONGEST_MESSAGE = 20_000
"""Characters for one problem that quotes at most a line of what was found."""

_text = st.text(max_size=30)
_odd = st.sampled_from(
    [
        *("true", "false", "0", "-1", "1", "3", "12", "4096", "1e3", "1e400", "-1e-400", "nan", "inf", "-inf", "0x1F"),
        *("9223372036854775807", "9223372036854775808", "0.5", "1.0", "''", '""', '"\\u0000"', '"\\n"', "'a'", '"P1"'),
        *('"24h"', '"30d"', '"0s"', '"99999999d"', '"all"', '"SASL_SSL"', '"none"', '"http://x"', '"a:1"', '"[::1]:2"'),
        *("1979-05-27T07:32:00Z", "1979-05-27", "07:32:00", "[]", "[[]]", "[1,'a']", '["a","a"]', "{}", "{a=1}"),
        *("{a={b={c=1}}}", '{P1="1h"}', '{job=["all"]}', '{P1="1h",P2="2h",P3="3h"}', "{first_time_fix=0.5}"),
        *(
            '[{where={region="x"},late_grace="1m"}]',
            '[{where={priority="P1"},silence_limit="1m"}]',
            "[{where={}}]",
            "[{}]",
        ),
        *('[{where={region="x"},first_time_fix=0.5}]', '[{where={tier="x",region="y"},explained=0.5}]', "[{where=1}]"),
        *('[{where={region="x"},clock_skew="1m"}]', '[{where={region="x"},first_response={P1="1h"}},{}]', "[[{}]]"),
    ]
)
_numbers = st.one_of(
    st.integers(-(2**70), 2**70).map(str), st.just("1" * 5_000), st.floats().map(lambda one: f"{one:e}")
)
_toml = st.one_of(
    _odd, _numbers, _text.map(json.dumps), st.sampled_from([to_toml(value) for value in DEFAULTS.values()])
)
_listed = st.lists(_toml, max_size=4).map(lambda values: f"[{','.join(values)}]")
_values = st.one_of(_toml, _toml, _listed)
_names = st.one_of(
    st.sampled_from(sorted(NAMES)),
    st.sampled_from(sorted(NAMES)),
    st.sampled_from(sorted(GROUPS)),
    st.sampled_from(["kafka.topic", "kafka.password_file", "nonsense", "policy.x"]),
)
_plain = st.characters(codec="utf-8", exclude_characters="\0")
_variables = st.dictionaries(
    st.sampled_from(sorted(setting.variable for setting in SETTINGS)),
    st.one_of(
        st.text(_plain, max_size=20),
        _values.filter(lambda text: "\0" not in text),
        st.sampled_from([str(value) for value in DEFAULTS.values()]),
        st.sampled_from(["1=ticket/v1", "P1=1h,P2=2h,P3=3h", "job=all", "a=1,a=2", "=", ",,", "1h, 24h", "\u0663"]),
        st.sampled_from(
            ['[{"where": {"region": "x"}, "late_grace": "1m"}]', '[{"where": {"region": 1}}]', "[{}]", "[NaN]"]
        ),
    ),
    max_size=3,
)


def _load(text: bytes, environ: Mapping[str, str]) -> tuple[Settings | None, ConfigError | None, str]:
    """Return what is loaded from a file of this text, or how it is refused; and the file's name."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(text)
        file.flush()
        try:
            return load(Path(file.name), environ), None, file.name
        except ConfigError as error:
            return None, error, file.name


def _all_is_named(error: ConfigError, file: str) -> None:
    assert error.problems
    for problem in error.problems:
        assert problem.setting
        assert problem.wrong
        assert problem.expected
        assert len(str(problem)) < LONGEST_MESSAGE
        assert str(problem) in str(error)
        if problem.variable and problem.setting != file:
            assert problem.variable == NAMES[problem.setting].variable


def _is_usable(settings: Settings) -> None:
    """What is accepted goes all the way into the worker, and is described as what it is."""
    assert settings.policy().memory_ms > 0
    assert settings.windows().levels
    settings.objective_ratios()
    settings.objectives_of_segments()
    assert settings.policy().of(None).overrides == ()
    assert fingerprint_of(policy_stated(settings))
    logging_config(settings)
    residue_key(settings)(b"key")
    topic_roles(settings)
    topics_of(settings)
    engine_settings(settings)
    written = tomllib.loads(describe(settings))
    with suppress(ConfigError):  # without its secrets it may be refused
        again = as_written(_again(written))
        assert {name: value for name, value in as_written(settings).items() if not NAMES[name].secret} == {
            name: value for name, value in again.items() if not NAMES[name].secret
        }


def _again(written: Mapping[str, object]) -> Settings:
    text = "\n".join(f"{name} = {to_toml(value)}" for name, value in written.items())
    settings, error, _file = _load(text.encode(), {})
    if settings is None:
        raise error or AssertionError
    return settings


@tried(400)
@given(_names, _values)
def test_one_wrong_setting_is_named(name: str, value: str) -> None:
    """One setting of a file, whatever it says, is taken or refused by its name, or the file by its own if not TOML."""
    text = f"{name} = {value}\n"
    settings, error, file = _load(text.encode(), {})
    if settings is not None:
        _is_usable(settings)
        return
    assert error is not None
    _all_is_named(error, file)
    named = {problem.setting for problem in error.problems}
    if _is_toml(text):
        last = name.rpartition(".")[2].removesuffix("_file")
        assert last in str(error) or value.strip("\"'") in str(error)  # two that clash may go by the name of the other
        assert any(one == name or one.startswith(f"{name}.") or one in NAMES for one in named)
    else:
        assert named == {file}


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


@tried(300)
@given(st.dictionaries(_names, _values, max_size=5), _variables)
def test_any_settings_are_usable_or_refused(in_file: dict[str, str], environ: dict[str, str]) -> None:
    """Any settings at all give settings the worker can be made of, or ConfigError; nothing else comes out."""
    text = "".join(f"{name} = {value}\n" for name, value in in_file.items())
    settings, error, file = _load(text.encode(), environ)
    if settings is not None:
        _is_usable(settings)
    elif error is not None:
        _all_is_named(error, file)


@tried(200)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(_plain, max_size=200).map(str.encode),
        st.integers(1, 20_000).map(lambda depth: b"a = " + b"[" * depth),
        st.integers(1, 20_000).map(lambda depth: b"a = " + b"{a=" * depth),
        st.integers(1, 3_000).map(lambda depth: b".".join([b"a"] * depth) + b" = 1"),
    )
)
def test_any_file_is_read_or_refused(content: bytes) -> None:
    """Any bytes as a file are refused with the file's name or a setting's, unless they say nothing."""
    settings, error, file = _load(content, {})
    if settings is not None:
        assert tomllib.loads(content.decode()) == {}
    elif error is not None:
        _all_is_named(error, file)


@pytest.mark.parametrize("path", ["/", "/dev/null/x", "no such file", "x" * 5_000])
def test_a_file_that_cannot_be_read_is_named(path: str) -> None:
    """A path that leads to no readable file is refused with the variable that gave it."""
    with pytest.raises(ConfigError) as refused:
        load(None, {CONFIG_VARIABLE: path})
    assert CONFIG_VARIABLE in str(refused.value)
