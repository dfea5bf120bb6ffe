"""The answer as its tests see it: what tests in use do with functions, classes and objects."""

from __future__ import annotations

import json
import os
import types
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness.core.errors import EnvironmentProblem
from harness.verification.code import check_code, isolation, split_tests
from harness.verification.proxies import Remote, RemoteModule, local_class, standard_exception

# Name -> an answer and its tests, all of which pass.
CASES = {
    "input": (
        "def ask():\n    return input('n? ')",
        "from unittest.mock import patch\n"
        "with patch('builtins.input', return_value='3'):\n"
        "    assert ask() == '3'",
    ),
    "stdin": (
        "import sys\ndef rd():\n    return sum(map(int, sys.stdin.readline().split()))",
        "import sys, io\nsys.stdin = io.StringIO('1 2')\nassert rd() == 3",
    ),
    "seed": (
        "import random\ndef r(): return random.randint(0,10**9)",
        "import random\nrandom.seed(1)\na = r()\nrandom.seed(1)\nassert r() == a",
    ),
    "linked": (
        "class Node:\n"
        "    def __init__(self,v,n=None): self.v=v; self.n=n\n"
        "def build(xs):\n"
        "    h=None\n"
        "    for x in reversed(xs): h=Node(x,h)\n"
        "    return h",
        "h = build([1,2])\nassert h.v == 1 and h.n.v == 2 and h.n.n is None",
    ),
    "enum": (
        "from enum import Enum\nclass C(Enum):\n    R=1\n    G=2\ndef f(): return C.R",
        "assert f() == C.R\n"
        "assert f() is C.R\n"
        "assert [c.name for c in C] == ['R','G']\n"
        "assert C['G'].value == 2\n"
        "assert C(1) is C.R",
    ),
    "intenum": (
        "from enum import IntEnum\nclass C(IntEnum):\n    R=1\ndef f(): return C.R",
        "assert f() == 1\nassert f() == C.R\nassert f().name == 'R'",
    ),
    "namedtuple": (
        "from collections import namedtuple\nP=namedtuple('P','x y')\ndef f(): return P(1,2)",
        "assert f() == (1,2)\n"
        "assert f().x == 1\n"
        "assert f() == P(1,2)\n"
        "assert isinstance(f(), P)\n"
        "assert isinstance(f(), tuple)",
    ),
    "abstract": (
        "from abc import ABC, abstractmethod\n"
        "class S(ABC):\n"
        "    @abstractmethod\n"
        "    def area(self): ...\n"
        "class Sq(S):\n"
        "    def __init__(s,a): s.a=a\n"
        "    def area(s): return s.a**2",
        "import pytest\n"
        "with pytest.raises(TypeError):\n"
        "    S()\n"
        "assert Sq(3).area() == 9\n"
        "assert isinstance(Sq(1), S)\n"
        "class T(S):\n"
        "    def area(self): return 5\n"
        "assert T().area() == 5\n"
        "assert issubclass(Sq,S)",
    ),
    "context": (
        "class M:\n"
        "    def __enter__(s): s.o=True; return s\n"
        "    def __exit__(s,*a): s.o=False; return True\n",
        "m = M()\nwith m as k:\n    assert k.o\n    raise ValueError\nassert m.o is False",
    ),
    "iter": (
        "class R:\n"
        "    def __init__(s,n): s.n=n\n"
        "    def __iter__(s): return iter(range(s.n))\n"
        "    def __len__(s): return s.n\n"
        "    def __getitem__(s,i): return i\n"
        "    def __contains__(s,x): return 0<=x<s.n",
        "r = R(3)\n"
        "assert list(r) == [0,1,2]\n"
        "assert len(r) == 3\n"
        "assert 2 in r and 5 not in r\n"
        "assert r[1] == 1\n"
        "assert sum(r) == 3",
    ),
    "vector": (
        "class V:\n"
        "    def __init__(s,x): s.x=x\n"
        "    def __add__(s,o): return V(s.x+o.x)\n"
        "    def __mul__(s,k): return V(s.x*k)\n"
        "    def __rmul__(s,k): return V(s.x*k)\n"
        "    def __eq__(s,o): return isinstance(o,V) and s.x==o.x\n"
        "    def __abs__(s): return abs(s.x)\n"
        "    def __lt__(s,o): return s.x<o.x\n"
        "    def __bool__(s): return bool(s.x)\n"
        "    def __call__(s): return s.x\n"
        "    def __str__(s): return f'V{s.x}'",
        "assert V(1)+V(2) == V(3)\n"
        "assert 2*V(2) == V(4)\n"
        "assert abs(V(-3)) == 3\n"
        "assert V(1)<V(2)\n"
        "assert not V(0)\n"
        "assert V(4)() == 4\n"
        "assert str(V(1)) == 'V1'\n"
        "assert sorted([V(2),V(1)])[0] == V(1)\n"
        "assert V(1) != V(2)\n"
        "assert f'{V(1)}' == 'V1'",
    ),
    "decor": (
        "def memo(f):\n"
        "    c={}\n"
        "    def g(*a):\n"
        "        if a not in c: c[a]=f(*a)\n"
        "        return c[a]\n"
        "    return g",
        "n = 0\n"
        "@memo\n"
        "def slow(x):\n"
        "    global n\n"
        "    n += 1\n"
        "    return x*x\n"
        "assert slow(3) == 9 and slow(3) == 9\n"
        "assert n == 1",
    ),
    "wraps": (
        "import functools\n"
        "def deco(f):\n"
        "    @functools.wraps(f)\n"
        "    def g(*a, **k): return f(*a, **k)+1\n"
        "    return g",
        "@deco\ndef h(x):\n    'doc'\n    return x\nassert h(1) == 2\nassert h.__name__ == 'h'",
    ),
    "exc attrs": (
        "class E(Exception):\n"
        "    def __init__(self, code): super().__init__(f'code {code}'); self.code=code\n"
        "def f(): raise E(5)",
        "try:\n"
        "    f()\n"
        "except E as e:\n"
        "    assert e.code == 5\n"
        "    assert str(e) == 'code 5'\n"
        "else:\n"
        "    assert False",
    ),
    "file": (
        "def w(p):\n    open(p,'w').write('hi')",
        "import tempfile, os\n"
        "d = tempfile.mkdtemp()\n"
        "w(os.path.join(d,'a'))\n"
        "assert open(os.path.join(d,'a')).read() == 'hi'",
    ),
    "stringio": (
        "def rd(f): return f.read().upper()",
        "import io\nassert rd(io.StringIO('abc')) == 'ABC'",
    ),
    "inplace dict": (
        "def up(d): d['a'] = 1; d.pop('b', None)",
        "d = {'b': 2}\nup(d)\nassert d == {'a': 1}",
    ),
    "nested inplace": (
        "def sw(m):\n    m[0][0], m[1][1] = m[1][1], m[0][0]",
        "m = [[1,2],[3,4]]\nr = m[0]\nsw(m)\nassert m == [[4,2],[3,1]] and r == [4,2]",
    ),
    "same": (
        "def f(x): return x",
        "x = [1]\nassert f(x) is x",
    ),
    "bank": (
        "class A:\n"
        "    total = 0\n"
        "    def __init__(s): s.b=0; A.total += 1\n"
        "    def dep(s,x):\n"
        "        if x<=0: raise ValueError('bad')\n"
        "        s.b += x\n"
        "    @property\n"
        "    def bal(s): return s.b\n"
        "    @classmethod\n"
        "    def mk(cls): return cls()\n"
        "    @staticmethod\n"
        "    def z(): return 0",
        "a = A()\n"
        "a.dep(5)\n"
        "assert a.bal == 5\n"
        "assert A.mk().bal == 0\n"
        "assert A.total == 2\n"
        "assert A.z() == 0\n"
        "import pytest\n"
        "with pytest.raises(ValueError, match='bad'):\n"
        "    a.dep(-1)\n"
        "a.b = 9\n"
        "assert a.bal == 9\n"
        "assert hasattr(a,'dep') and not hasattr(a,'nope')",
    ),
    "threads": (
        "import threading\n"
        "class C:\n"
        "    def __init__(s): s.n=0; s.l=threading.Lock()\n"
        "    def inc(s):\n"
        "        with s.l: s.n+=1",
        "import threading\n"
        "c = C()\n"
        "ts = [threading.Thread(target=c.inc) for _ in range(8)]\n"
        "[t.start() for t in ts]\n"
        "[t.join() for t in ts]\n"
        "assert c.n == 8",
    ),
    "loop": (
        "def f(n): return n+1",
        "for i in range(5000):\n    assert f(i) == i+1",
    ),
    "float": (
        "def f(): return float('nan'), float('inf'), -0.0, 1e308",
        "import math\n"
        "a,b,c,d = f()\n"
        "assert math.isnan(a) and b == math.inf and math.copysign(1,c) == -1 and d == 1e308",
    ),
    "bytes": (
        "def f(b): return bytes(reversed(b)), bytearray(b'x'), 1+2j, {1:{2}}, "
        "frozenset([1]), None, ..., range(3)",
        "assert f(b'ab') == (b'ba', bytearray(b'x'), 1+2j, {1:{2}}, frozenset([1]), "
        "None, ..., range(3))",
    ),
    "lcm builtin name": (
        "def sum(a,b): return a+b+1",
        "assert sum(1,2) == 4",
    ),
    "zip": (
        "def f(): return zip([1],[2])",
        "assert list(f()) == [(1,2)]",
    ),
    "dictview": (
        "def f(): return {1:2}.keys()",
        "assert list(f()) == [1]\nassert set(f()) == {1}",
    ),
    "defaultdict": (
        "from collections import defaultdict, deque, OrderedDict\n"
        "def f():\n"
        "    d=defaultdict(list); d[1].append(2); return d, deque([1],3), OrderedDict(a=1)",
        "a,b,c = f()\nassert a == {1:[2]} and b.maxlen == 3 and list(c) == ['a']",
    ),
}


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[int, int, str]]:
    try:
        isolation()
    except EnvironmentProblem as problem:
        pytest.skip(str(problem))

    def run(name: str) -> tuple[int, int, str]:
        code, tests = CASES[name]
        result = check_code(code, split_tests(tests), allow_code_execution=True)
        return result.tests_passed, result.tests_total, result.reason

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(CASES, pool.map(run, CASES)))


@pytest.mark.parametrize("name", CASES)
def test_tests_use_answers_as_if_they_were_here(
    found: dict[str, tuple[int, int, str]], name: str
) -> None:
    passed, total, reason = found[name]
    assert (passed, reason) == (total, "")


def test_exceptions_of_the_library_are_themselves() -> None:
    error = json.JSONDecodeError
    assert standard_exception("JSONDecodeError", "json.decoder", (), (), True) is None
    assert standard_exception("JSONDecodeError", "json", (), (), True) is error
    for name, origin, exception in (
        ("JSONDecodeError", "json", False),
        ("dumps", "json", True),
        ("JSONDecoder", "json", True),
        ("absent", "json", True),
        ("SkipTest", "unittest", True),
        ("Own", "candidate", True),
        ("Forged", "harness.verification.wire", True),
    ):
        assert standard_exception(name, origin, (), (), exception) is None, name


def test_a_class_that_cannot_be_made_as_it_is_has_fewer_bases() -> None:
    line: Any = types.SimpleNamespace()
    both = local_class(line, 3, "Both", "candidate", (int, str), ["__add__"], False)
    assert both.__mro__ == (both, Remote, object)
    error = local_class(line, 4, "Own", "candidate", (ValueError, complex), [], True)
    assert issubclass(error, ValueError)
    assert not issubclass(error, complex)
    assert error.__module__ == "candidate"
    equal = local_class(line, 5, "Equal", "candidate", (), ["__eq__"], False)
    assert equal.__hash__ is None
    hashed = local_class(line, 6, "Hashed", "candidate", (), ["__eq__", "__hash__"], False)
    assert hashed.__hash__ is not None
    for base in (list, dict, set):
        kind = local_class(line, 7, "Kind", "candidate", (base,), [], False)
        assert (kind.__hash__, issubclass(kind, base)) == (None, True)


def test_names_that_python_looks_for_in_any_class_are_not_asked_of_the_answer() -> None:
    asked: list[Any] = []
    line: Any = types.SimpleNamespace(request=lambda *what: asked.append(what) or "found")
    kind = local_class(line, 3, "Own", "candidate", (), [], False)
    for name in ("__signature__", "__wrapped__", "__set_name__", "__abstractmethods__"):
        assert not hasattr(kind, name)
    assert asked == []
    assert kind.limit == "found"
    assert asked == [("get", 3, "limit")]


def test_what_modules_and_classes_ask_of_the_answer() -> None:
    asked: list[Any] = []
    line: Any = types.SimpleNamespace(request=lambda *what: asked.append(what) or "found")
    module = RemoteModule(line, 5, ["f"])
    assert module.f == "found"
    module.limit = 2
    assert vars(module)["__all__"] == ["f"]
    assert asked == [("get", 5, "f"), ("set", 5, "limit", 2)]
    asked.clear()
    kind = local_class(line, 3, "Own", "candidate", (), [], False)
    kind.limit = 4
    assert (kind["R"], kind(1, end=2), bool(kind)) == ("found", "found", True)
    made = types.new_class("Sub", (kind,), exec_body=lambda space: space.update(size=7))
    assert made == "found"
    assert asked == [
        ("set", 3, "limit", 4),
        ("special", 3, "__getitem__", "R"),
        ("call", 3, (1,), {"end": 2}),
        ("subclass", 3, "Sub", (kind,), {"size": 7}),
    ]
    with pytest.raises(TypeError, match=r"may not use super\(\): Sub"):
        types.new_class("Sub", (kind,), {"final": True})
