"""The program that runs tests, without a jail around it: names, modules, subjects, messages."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harness.verification import tester
from harness.verification.proxies import REMOTE, RemoteClass
from tests.harness.verification.problems import PROBLEMS
from tests.harness.verification.test_proxies import CASES
from tests.harness.verification.unconfined import messages, verdicts


def test_right_answers_pass_and_wrong_ones_do_not_without_a_jail() -> None:
    for problem in PROBLEMS:
        for code, right in ((problem.right, True), (problem.wrong, False)):
            found = verdicts(code, (problem.tests,), problem.name)
            assert (found == ["passed"]) is right, (problem, code, found)


@pytest.mark.parametrize("name", CASES)
def test_tests_use_answers_without_a_jail(name: str) -> None:
    code, tests = CASES[name]
    assert verdicts(code, (tests,)) == ["passed"]


TEXT = "import candidate, solution, __main__, sys\nassert {}"


@pytest.mark.parametrize(
    ("code", "test"),
    [
        ("def f(): return 1", TEXT.format("candidate.f() == solution.f() == __main__.f() == 1")),
        ("def f(): return 1", "from candidate import *\nassert f() == 1"),
        ("_x = 1\ny = 2", "import candidate\nassert candidate.__all__ == ['y']"),
        ("def f(): return 1", TEXT.format("f() and sys.argv == ['tests.py']")),
        ("import sys\ndef f(): return sys.argv", "assert f() == ['candidate.py']"),
        ("def f(): return __name__", "assert f() == 'candidate' and __name__ == '__main__'"),
        ("def f(): return 1", "import unittest\nunittest.main()\nassert f() == 1"),
        ("def f(): return 1", "x = eval('f()')\nassert x == 1"),
        ("def f(): return 1", "x = globals()['f']\nassert x() == 1"),
        ("import math\ndef f(x): return x", "assert math.isclose(f(1), 1)"),
        ("from math import *\ndef f(x): return x", "assert floor(f(1.5)) == 1"),
        ("import os.path\ndef f(x): return x", "assert os.path.basename(f('a/b')) == 'b'"),
        ("import os.path as p\ndef f(x): return x", "assert p.basename(f('a/b')) == 'b'"),
        ("def f(x): return x", "def helper(): return f(3)\nassert helper() == 3"),
        ("def sorted(x): return 5", "assert sorted([2, 1]) == 5"),
        ("def sorted(x): return 5\ndef f(): return 1", "assert sorted([2, 1]) == [1, 2] and f()"),
        ("def f(x): print('p', x)", "import io, contextlib\no = io.StringIO()\n"
         "with contextlib.redirect_stdout(o): f(1)\nassert o.getvalue() == 'p 1\\n'"),
        ("print('early')\ndef f(): return 1", "assert f() == 1"),
        ("import random\ndef f(): return random.random()",
         "import random\nrandom.seed(5)\na = f()\nrandom.seed(5)\nassert f() == a"),
        ("import numpy\ndef f(): return float(numpy.random.rand())",
         "import numpy\nnumpy.random.seed(5)\na = f()\nnumpy.random.seed(5)\nassert f() == a"),
        ("async def f(): return 4", "import asyncio\nassert asyncio.run(f()) == 4"),
    ],
)  # fmt: skip
def test_names_of_tests_mean_the_answer_or_the_library(code: str, test: str) -> None:
    assert verdicts(code, (test,)) == ["passed"]


@pytest.mark.parametrize(
    ("code", "test", "reason"),
    [
        ("def f(): return g", "assert f()", "raised NameError: name 'g' is not defined"),
        ("x = 1", "assert f()", "raised NameError: name 'f' is not defined"),
        ("from math import floor as g\ndef f(): return 1", "assert g(1) == f()",
         "raised NameError: name 'g' is not defined"),
        ("def f(): raise StopIteration", "assert f()",
         "raised RuntimeError: the answer raised StopIteration"),
        ("def f(): raise KeyError('k')", "assert f()", "raised KeyError: 'k'"),
        ("def f(): import os; os._exit(0)", "assert f()", ""),
        ("def f(): return 1", "def test_it(missing): assert f()",
         "raised LookupError: fixture 'missing' not found"),
    ],
)  # fmt: skip
def test_reasons_of_failures(code: str, test: str, reason: str) -> None:
    found = verdicts(code, (test,))
    assert found == ([reason] if reason else ["loaded"])


def test_what_the_supervisor_is_told() -> None:
    tests = ("assert f() == 1", "assert f() == 2", "f()", "assert f() == 1")
    assert messages("def f(): return 1", tests) == [
        ["ready"], ["loaded"], ["verdict", "passed"], ["verdict", "raised AssertionError: "],
        ["verdict", "the test asserts nothing"], ["verdict", "passed"], ["done"],
    ]  # fmt: skip
    assert messages("x = 1 / 0", ("assert x",)) == [
        ["ready"],
        ["not loaded", "raised ZeroDivisionError: division by zero"],
    ]
    own = "n = []\ndef test_a():\n    n.append(1)\n    assert len(n) == f()\ntest_a()"
    assert ["verdict", "passed"] in messages("def f(): return 1", (own,)), "run once, by itself"
    forged = "import os\nfor n in range(3, 64):\n    try: os.write(n, b'[5]\\n')\n"
    assert messages(forged + "    except OSError: pass", ("assert 1 < 2",)) == [
        ["ready"],
        ["forged"],
    ]


def test_names_that_scripts_use_and_do_not_bind() -> None:
    used, every = tester.used_names(
        [
            "not python (",
            "import a\nfrom b import c as d\ne = f(a.g, d)\ndef h(i, j=k):\n l = m\n return n",
            "nor this )",
            "class O:\n    p = q\n    def r(self): return [s for t in self.u if v]\n",
            "global w\nw = 1\ndef x():\n    global y\n    y = z\n",
            "not python (",
        ]
    )
    assert used == {"f", "k", "m", "n", "q", "s", "v", "z"}
    assert {"g", "u", "l", "self", "y"} <= every
    assert tester.used_names(["f = 1", "f(g)"])[0] == {"g"}


def test_what_an_answer_imports_is_imported_from_the_library() -> None:
    found = tester.imported_names(
        "import os.path, math as m\nfrom math import floor, ceil as up, pi as pi\n"
        "from __future__ import annotations\nfrom . import near\nfrom .far import away\n"
        "from string import *\nimport no_such_module\n"
    )
    assert {"os", "m", "floor", "up", "pi", "digits", "no_such_module"} <= set(found)
    assert not {"annotations", "near", "away", "math", "ceil"} & set(found)
    assert found["floor"]() == {"floor": math.floor}
    assert found["m"]() == {"m": math}
    assert found["os"]()["os"].__name__ == "os"
    assert found["digits"]()["digits"] == "0123456789"
    assert found["up"]() == found["no_such_module"]() == {}
    assert found["pi"]() == {"pi": math.pi}


def test_names_that_an_answer_defines() -> None:
    code = "import a\nb = 1\ndef c(d): e = 2\nclass F: pass\n"
    code += "async def g(): pass\nh += 1\nfor i in j: pass"
    assert tester.defined_names(code) == {"b", "c", "e", "F", "g", "h", "i"}


@pytest.mark.parametrize(
    ("name", "tests", "library"),
    [
        ("math", ["math.floor(1)", "x = math.pi"], True),
        ("math", ["math.floor(math)"], False),
        ("math", ["x = 1"], False),
        ("mine", ["mine.floor(1)"], False),
        ("math", ["a.b.c", "other.floor(1)"], False),
        ("math", ["f().x", "math.pi"], True),
    ],
)
def test_names_that_mean_a_module_of_the_library(
    name: str, tests: list[str], library: bool
) -> None:
    assert tester.is_library(name, tests) is library


class Asked:
    """An answer that notes the names that are asked for."""

    def __init__(self) -> None:
        self.named: set[int] = set()
        self.words: frozenset[str] = frozenset()
        self.asked: list[Any] = []

    def request(self, *parts: Any) -> Any:
        self.asked.append(parts)
        if parts[2] == "Kind":
            return RemoteClass("Kind", (), {REMOTE: (self, 9)})
        return f"<{parts[2]}>"


def prepared(
    code: str, tests: list[str], entry: str = ""
) -> tuple[dict[str, Any], Asked, dict[str, Any]]:
    answer: Any = Asked()
    space: dict[str, Any] = {}
    exec(code, space)
    scope = tester.prepare_scope(answer, 4, code, list(space), tests, entry)
    assert scope.pop("__name__") == "__main__"
    assert scope.pop("__builtins__")["len"] is len
    plain = {k: v for k, v in scope.items() if isinstance(v, str)}
    return scope, answer, plain


def test_a_scope_has_what_the_tests_use() -> None:
    code = "import math\nfrom math import floor\na = b = 1\nclass Kind: pass\ndef len(x): return 1"
    scope, answer, plain = prepared(
        code, ["assert a and Kind() and math.pi and floor(1) and len(a)"]
    )
    assert plain == {"a": "<a>"}
    assert (scope["math"], scope["floor"]) == (math, math.floor)
    assert [parts[:2] for parts in answer.asked] == [("get", 4)] * 2
    assert [parts[2] for parts in answer.asked] == ["Kind", "a"]
    assert answer.named == {9}
    assert answer.words >= {"a", "Kind", "pi"}
    assert prepared(code, ["assert len(5)"])[2] == {"len": "<len>"}
    assert prepared(code, ["assert len(a)"], "len")[2] == {"a": "<a>", "len": "<len>"}
    assert prepared(code, ["assert len(5)"], "a")[2] == {"a": "<a>"}
    _, _, everything = prepared(code, ["x = eval('1')"])
    assert set(everything) == {"a", "b", "len"}
    own = "from math import floor\ndef floor(x): return 1\na = 2"
    assert prepared(own, ["assert floor(1)"])[2] == {"floor": "<floor>"}
    assert prepared(own, ["assert floor(1) and a"])[0]["floor"] is math.floor


ONE = "def f(): pass\nx = 1\n"
TWO = "def g(): pass\ndef f(): return g()\n"


@pytest.mark.parametrize(
    ("code", "entry", "found"),
    [
        (ONE, "", "<f>"),
        (ONE, "other", "<other>"),
        (TWO, "", "<f>"),
        ("async def f(): pass", "", "<f>"),
        ("def f(): return 1\ndef f(): return 2", "", "<f>"),
        ("def f(): return f()\ndef g(): return f()", "", "<g>"),
        (TWO, "len('ab')", 2),
    ],
)
def test_the_subject_of_a_check(code: str, entry: str, found: Any) -> None:
    answer: Any = Asked()
    assert tester.subject_of(entry, code, answer, 4, {}) == found
    assert [parts[:2] for parts in answer.asked] == ([] if found == 2 else [("get", 4)])


@pytest.mark.parametrize(
    ("code", "offers"),
    [("x = 1", "none"), ("def f(): pass\ndef g(): pass", "f, g"), (TWO + "def h(): pass", "f, h")],
)
def test_a_subject_that_is_not_clear_is_an_error(code: str, offers: str) -> None:
    answer: Any = Asked()
    with pytest.raises(LookupError, match=f"the answer offers {offers}:"):
        tester.subject_of("", code, answer, 4, {})
