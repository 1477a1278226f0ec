"""Content MathML (pragmatic and strict) to LaTeX: operators by their usual notation, brackets where they bind.

Sections in comments are those of the MathML 3 recommendation.
"""

import dataclasses
import re
from collections.abc import Callable

from lxml import etree

from corpus.mathml_symbols import escaped, joined
from corpus.mathml_tree import MAX_DEPTH, TooDeepError, children_of, local_name, text_of

Present = Callable[[etree._Element, int], str]

# How tightly an expression holds together; an argument that holds less than its place asks for is bracketed.
_ARROW, _OR, _AND, _RELATION, _SUM, _PRODUCT, _PREFIX, _POWER, _ATOM = range(9)


@dataclasses.dataclass(frozen=True, slots=True)
class _Infix:
    sign: str
    level: int


_INFIX = {
    "plus": _Infix("+", _SUM), "times": _Infix("", _PRODUCT), "implies": _Infix(r"\Rightarrow", _ARROW),
    "equivalent": _Infix(r"\Leftrightarrow", _ARROW), "and": _Infix(r"\land", _AND), "or": _Infix(r"\lor", _OR),
    "xor": _Infix(r"\oplus", _OR), "eq": _Infix("=", _RELATION), "neq": _Infix(r"\neq", _RELATION),
    "gt": _Infix(">", _RELATION), "lt": _Infix("<", _RELATION), "geq": _Infix(r"\geq", _RELATION),
    "leq": _Infix(r"\leq", _RELATION), "approx": _Infix(r"\approx", _RELATION),
    "factorof": _Infix(r"\mid", _RELATION), "in": _Infix(r"\in", _RELATION),
    "notin": _Infix(r"\notin", _RELATION), "subset": _Infix(r"\subseteq", _RELATION),
    "prsubset": _Infix(r"\subset", _RELATION), "notsubset": _Infix(r"\nsubseteq", _RELATION),
    "notprsubset": _Infix(r"\not\subset", _RELATION), "tendsto": _Infix(r"\to", _RELATION),
    "union": _Infix(r"\cup", _SUM), "intersect": _Infix(r"\cap", _PRODUCT), "setdiff": _Infix(r"\setminus", _SUM),
    "cartesianproduct": _Infix(r"\times", _PRODUCT), "vectorproduct": _Infix(r"\times", _PRODUCT),
    "scalarproduct": _Infix(r"\cdot", _PRODUCT), "outerproduct": _Infix(r"\otimes", _PRODUCT),
    "compose": _Infix(r"\circ", _PRODUCT), "rem": _Infix(r"\bmod", _PRODUCT),
}  # fmt: skip
_NAMED = frozenset((
    "sin", "cos", "tan", "sec", "csc", "cot", "sinh", "cosh", "tanh", "coth", "arcsin", "arccos", "arctan", "exp",
    "ln", "log", "max", "min", "gcd", "arg",
))  # fmt: skip
# The functions that LaTeX has no command for, by the name that stands in print.
_OPERATOR_NAMES = {
    "sech": "sech", "csch": "csch", "arccosh": "arccosh", "arccot": "arccot", "arccoth": "arccoth",
    "arccsc": "arccsc", "arccsch": "arccsch", "arcsec": "arcsec", "arcsech": "arcsech", "arcsinh": "arcsinh",
    "arctanh": "arctanh", "lcm": "lcm", "real": "Re", "imaginary": "Im", "divergence": "div", "grad": "grad",
    "curl": "curl", "mode": "mode", "median": "median", "domain": "domain", "codomain": "codomain",
    "image": "image", "size": "size",
}  # fmt: skip
_CONSTANTS = {
    "pi": r"\pi", "exponentiale": "e", "imaginaryi": "i", "infinity": r"\infty", "eulergamma": r"\gamma",
    "true": r"\mathrm{true}", "false": r"\mathrm{false}", "emptyset": r"\emptyset", "integers": r"\mathbb{Z}",
    "reals": r"\mathbb{R}", "rationals": r"\mathbb{Q}", "naturalnumbers": r"\mathbb{N}",
    "complexes": r"\mathbb{C}", "primes": r"\mathbb{P}", "notanumber": r"\mathrm{NaN}", "ident": r"\mathrm{id}",
    "laplacian": r"\nabla^{2}",
}  # fmt: skip
# Names of OpenMath's content dictionaries that differ from the elements'.
_STRICT = {
    "unary_minus": "minus", "e": "exponentiale", "i": "imaginaryi", "gamma": "eulergamma", "Z": "integers",
    "R": "reals", "Q": "rationals", "N": "naturalnumbers", "C": "complexes", "P": "primes", "NaN": "notanumber",
    "defint": "int", "set_difference": "setdiff",
    "cartesian_product": "cartesianproduct", "remainder": "rem", "argument": "arg",
    "vector_selector": "selector", "matrix_selector": "selector", "left_compose": "compose", "eqmod": "eq",
    "interval_cc": "interval", "interval_oo": "interval", "interval_co": "interval",
    "interval_oc": "interval", "integer_interval": "interval", "oriented_interval": "interval", "identity": "ident",
    "left_inverse": "inverse", "factor_of": "factorof",
}  # fmt: skip
_CLOSURES = {"interval_oo": "open", "interval_co": "closed-open", "interval_oc": "open-closed"}
_BRACKETS = {
    "open": ("(", ")"), "closed": ("[", "]"), "open-closed": ("(", "]"), "closed-open": ("[", ")"),
}  # fmt: skip
_CONTAINERS = frozenset((
    "apply", "reln", "bind", "ci", "cn", "csymbol", "interval", "set", "list", "vector", "matrix", "piecewise",
    "lambda", "declare", "fn", "cs", "cerror", "cbytes", "condition", "otherwise", "piece", "matrixrow", "bvar",
    "lowlimit", "uplimit", "degree", "logbase", "momentabout", "domainofapplication",
))  # fmt: skip
_QUALIFIERS = frozenset((
    "bvar", "lowlimit", "uplimit", "degree", "logbase", "momentabout", "condition", "domainofapplication", "interval",
))  # fmt: skip
_CONDITIONS = ("condition", "domainofapplication")
# What says something with bound variables and limits alone.
_BINDERS = frozenset((
    "forall", "exists", "max", "min", "int", "sum", "product", "limit", "diff", "partialdiff",
))  # fmt: skip
_LETTERS = frozenset((
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi",
    "Pi", "Sigma", "Phi", "Psi", "Omega",
))  # fmt: skip


def is_content(name: str) -> bool:
    """Whether an element of this local name is Content MathML's and stands at the top of an expression."""
    return name in _CONTAINERS or name in _CONSTANTS


def content_to_latex(element: etree._Element, depth: int, present: Present) -> str:
    """LaTeX of a Content MathML element `depth` levels down; `present` converts the presentation in it.

    Raises TooDeepError where the tree is deeper than MAX_DEPTH.
    """
    return _Reader(present).read(element, depth)[0]


def _join(parts: list[str]) -> str:
    """Parts side by side: a blank behind a control word, a thin space between digits."""
    out: list[str] = []
    for part in filter(None, parts):
        if out and part[0].isdigit() and out[-1][-1].isdigit():
            out.append(r"\,")
        out.append(part)
    return joined(out)


class _Reader:
    def __init__(self, present: Present):
        self.present = present

    def read(self, element: etree._Element, depth: int) -> tuple[str, int]:
        """LaTeX and how tightly it holds together."""
        if depth > MAX_DEPTH:
            raise TooDeepError(f"MathML deeper than {MAX_DEPTH} levels")
        name = local_name(element)
        children = children_of(element)
        if name in ("apply", "reln", "bind"):
            return self._apply(children, depth + 1)
        if name in ("ci", "cn", "csymbol", "cs", "cbytes", "fn"):
            return self._token(name, element, children, depth + 1)
        if name in _CONSTANTS:
            return _CONSTANTS[name], _ATOM
        container = getattr(self, f"_read_{name}", None)
        if container is not None:
            return container(element, children, depth + 1)
        if name in _INFIX or name in _NAMED or name in _OPERATOR_NAMES:
            return self._operator(name), _ATOM
        if name == "semantics" and children:
            return self.read(children[0], depth + 1)
        if name in _CONTAINERS:
            return ",".join(self.read(child, depth + 1)[0] for child in children), _ATOM
        return self.present(element, depth + 1), _ATOM

    def latex(self, element: etree._Element, depth: int, level: int = 0) -> str:
        """LaTeX, in brackets where it holds less tightly than `level`."""
        latex, own = self.read(element, depth)
        return rf"\left({latex}\right)" if own < level else latex

    # 4.2: numbers, identifiers, symbols

    def _token(
        self, name: str, element: etree._Element, children: list[etree._Element], depth: int
    ) -> tuple[str, int]:
        if name == "cn":
            return self._number(element, children, depth)
        inner = [child for child in children if local_name(child) != "sep"]
        if inner:
            latex = _join([self.read(child, depth)[0] for child in inner])
        else:
            text = text_of(element)
            if name == "csymbol":
                text = _STRICT.get(text, text)
                if text in _CONSTANTS:
                    return _CONSTANTS[text], _ATOM
                if text in _INFIX or text in _NAMED or text in _OPERATOR_NAMES:
                    return self._operator(text), _ATOM
            if name in ("cs", "cbytes"):
                latex = rf"\text{{{escaped(text)}}}"
            elif text in _LETTERS:
                latex = "\\" + text
            elif len(text) > 1 and text.isascii():
                number = re.fullmatch(r"([A-Za-z])_?(\d{1,4})", text)
                latex = (
                    f"{number[1]}_{{{number[2]}}}"
                    if number
                    else rf"\mathrm{{{_plain(text)}}}"
                    if text
                    else ""
                )
            else:
                latex = self.present(_as_mi(element, text), depth)
        kind = element.get("type", "")
        if kind in ("vector", "matrix") and len(latex) == 1:
            latex = rf"\mathbf{{{latex}}}"
        return latex, _ATOM

    def _number(self, element: etree._Element, children: list[etree._Element], depth: int) -> tuple[str, int]:
        parts = [" ".join((element.text or "").split())]
        shown = [self.present(child, depth) for child in children if local_name(child) != "sep"]
        if shown:
            return _join([parts[0], *shown]), _ATOM
        parts += [" ".join((child.tail or "").split()) for child in children]
        first, second = parts[0], parts[1] if len(parts) > 1 else ""
        kind = element.get("type", "")
        if second and kind == "rational":
            return rf"\frac{{{first}}}{{{second}}}", _POWER
        if second and kind == "complex-cartesian":
            sign = "-" if second.startswith("-") else "+"
            return f"{first}{sign}{second.lstrip('+-')}i", _SUM
        if second and kind == "complex-polar":
            return f"{first}e^{{{second}i}}", _PRODUCT
        if second and kind == "e-notation":
            return rf"{first}\times 10^{{{second}}}", _PRODUCT
        base = element.get("base", "10")
        text = _plain("".join(parts))
        constant = {"ⅇ": "e", "ⅈ": "i", "π": r"\pi", "γ": r"\gamma", "∞": r"\infty"}.get(text)
        if constant:
            return constant, _ATOM
        if base.isdecimal() and base != "10":
            return f"{text}_{{{base}}}", _POWER
        return text, _SUM if text.startswith("-") else _ATOM

    def _operator(self, name: str) -> str:
        if name in _INFIX:
            return _INFIX[name].sign or r"\times"
        return "\\" + name if name in _NAMED else rf"\operatorname{{{_OPERATOR_NAMES[name]}}}"

    # 4.3: application

    def _apply(self, children: list[etree._Element], depth: int) -> tuple[str, int]:
        if not children:
            return "", _ATOM
        head, rest = children[0], children[1:]
        name = local_name(head)
        stated = ""
        if name == "csymbol":
            stated = text_of(head)
            name = _STRICT.get(stated, stated)
        elif name == "fn" and len(children_of(head)) == 1:
            return self._apply([children_of(head)[0], *rest], depth)
        qualifiers: dict[str, list[etree._Element]] = {}
        arguments = []
        for child in rest:
            kind = local_name(child)
            # An interval in place of limits: only where there is a bound variable or an integral to carry it.
            if kind in _QUALIFIERS and (
                kind != "interval" or (name in ("int", "sum", "product") and child is not rest[-1])
            ):
                qualifiers.setdefault(kind, []).append(child)
            else:
                arguments.append(child)
        method = getattr(self, f"_apply_{name}", None) if name.isidentifier() else None
        if method is not None and (arguments or (qualifiers and name in _BINDERS)):
            return method(arguments, qualifiers, depth)
        if name in _INFIX and arguments:
            return self._infix(_INFIX[name], name, arguments, qualifiers, depth)
        if name == "interval" and stated:
            return self._interval(arguments, _CLOSURES.get(stated, "closed"), depth)
        if name in ("set", "list", "vector", "matrix", "matrixrow") and stated:
            return getattr(self, f"_read_{name}")(head, rest, depth)
        if name in _NAMED or name in _OPERATOR_NAMES:
            return self._function(self._operator(name), arguments, depth)
        function = self.latex(head, depth, _POWER)
        if not function and name:  # an element of somebody's own
            function = name if len(name) == 1 else rf"\operatorname{{{_plain(name)}}}"
        inner = self._list(arguments, depth)
        bound = qualifiers.get("bvar")
        if bound:
            function = f"{function}_{{{self._list(bound, depth)}}}"
        return (rf"{function}\left({inner}\right)" if _tall(inner) else f"{function}({inner})"), _POWER

    def _list(self, elements: list[etree._Element], depth: int) -> str:
        return ", ".join(self.read(element, depth)[0] for element in elements)

    def _function(self, name: str, arguments: list[etree._Element], depth: int) -> tuple[str, int]:
        if len(arguments) == 1:
            latex, level = self.read(arguments[0], depth)
            if level >= _POWER and len(latex) < 12 and "(" not in latex:
                return f"{name} {latex}", _PREFIX
            return rf"{name}\left({latex}\right)", _POWER
        return rf"{name}\left({self._list(arguments, depth)}\right)" if arguments else name, _POWER

    def _infix(
        self,
        operator: _Infix,
        name: str,
        arguments: list[etree._Element],
        qualifiers: dict[str, list[etree._Element]],
        depth: int,
    ) -> tuple[str, int]:
        big = {
            "plus": r"\sum", "times": r"\prod", "union": r"\bigcup", "intersect": r"\bigcap", "and": r"\bigwedge",
            "or": r"\bigvee",
        }.get(name)  # fmt: skip
        if big and qualifiers:
            return self._big(big, arguments, qualifiers, depth)
        level = operator.level
        if len(arguments) == 1:
            return f"{operator.sign}{self.latex(arguments[0], depth, _PREFIX)}", min(level, _PREFIX)
        sign = f" {operator.sign} " if operator.sign else ""
        out: list[str] = []
        for index, argument in enumerate(arguments):
            latex, own = self.read(argument, depth)
            strict = (index > 0 and level in (_ARROW,)) or level == _RELATION or name in ("setdiff", "rem")
            if (
                own < level
                or (strict and own == level and index > 0)
                or (level == _RELATION and own <= level)
            ):
                latex = rf"\left({latex}\right)"
            if name == "plus" and index and latex.startswith("-"):
                out += [" - ", latex[1:]]
            elif name == "times" and index and latex[0:1].isdigit():
                out += [r" \cdot ", latex]
            elif name == "times" and index and latex.startswith("-"):
                out.append(rf"\left({latex}\right)")
            else:
                out += [sign if index else "", latex]
        return _join(out), level

    # 4.4.2: arithmetic

    def _apply_minus(self, arguments, qualifiers, depth):
        if len(arguments) == 1:
            return f"-{self.latex(arguments[0], depth, _PRODUCT)}", _SUM
        first, *others = arguments
        terms = [self.latex(first, depth, _SUM), *(self.latex(other, depth, _PRODUCT) for other in others)]
        return " - ".join(terms), _SUM

    def _apply_divide(self, arguments, qualifiers, depth):
        return self._pair(r"\frac{{{}}}{{{}}}", arguments, depth), _POWER - 1

    def _pair(self, form: str, arguments: list[etree._Element], depth: int) -> str:
        values = [self.read(argument, depth)[0] for argument in arguments[:2]]
        return form.format(*values, *[""] * (2 - len(values)))

    def _apply_quotient(self, arguments, qualifiers, depth):
        return self._pair(r"\left\lfloor\frac{{{}}}{{{}}}\right\rfloor", arguments, depth), _ATOM

    def _apply_power(self, arguments, qualifiers, depth):
        exponent = self.read(arguments[1], depth)[0] if len(arguments) > 1 else ""
        base = arguments[0]
        inner = children_of(base)
        name = local_name(inner[0]) if local_name(base) == "apply" and inner else ""
        if name == "csymbol":
            name = text_of(inner[0])
        if (name in _NAMED or name in _OPERATOR_NAMES) and name not in ("max", "min", "log", "exp", "gcd"):
            return self._function(f"{self._operator(name)}^{{{exponent}}}", inner[1:], depth + 1)
        latex, level = self.read(base, depth)
        if level < _ATOM:
            latex = rf"\left({latex}\right)"
        return f"{latex}^{{{exponent}}}", _POWER

    def _apply_root(self, arguments, qualifiers, depth):
        degree = self._list(qualifiers.get("degree", []), depth)
        if not degree and len(arguments) > 1:  # strict
            degree = self.read(arguments[1], depth)[0]
        inner = self.read(arguments[0], depth)[0] if arguments else ""
        return (rf"\sqrt[{degree}]{{{inner}}}" if degree not in ("", "2") else rf"\sqrt{{{inner}}}"), _ATOM

    def _apply_factorial(self, arguments, qualifiers, depth):
        return self.latex(arguments[0], depth, _ATOM) + "!", _POWER

    def _around(self, left: str, right: str, arguments: list[etree._Element], depth: int) -> tuple[str, int]:
        return _join([rf"\left{left}", self._list(arguments, depth)]) + rf"\right{right}", _ATOM

    def _apply_abs(self, arguments, qualifiers, depth):
        return self._around("|", "|", arguments, depth)

    _apply_card = _apply_abs

    def _apply_floor(self, arguments, qualifiers, depth):
        return self._around(r"\lfloor", r"\rfloor", arguments, depth)

    def _apply_ceiling(self, arguments, qualifiers, depth):
        return self._around(r"\lceil", r"\rceil", arguments, depth)

    def _apply_conjugate(self, arguments, qualifiers, depth):
        return rf"\overline{{{self._list(arguments, depth)}}}", _ATOM

    _apply_mean = _apply_conjugate

    def _apply_exp(self, arguments, qualifiers, depth):
        return f"e^{{{self._list(arguments, depth)}}}", _POWER

    def _apply_log(self, arguments, qualifiers, depth):
        base = self._list(qualifiers.get("logbase", []), depth)
        return self._function(rf"\log_{{{base}}}" if base else r"\log", arguments, depth)

    def _extreme(self, name: str, arguments, qualifiers, depth) -> tuple[str, int]:
        condition = self._list(qualifiers.get("condition", []), depth)
        if condition:
            bound = self._list(arguments, depth) or self._list(qualifiers.get("bvar", []), depth)
            return rf"{name}\left\{{{bound} \mid {condition}\right\}}", _PREFIX
        return rf"{name}\left({self._list(arguments, depth)}\right)", _POWER

    def _apply_max(self, arguments, qualifiers, depth):
        return self._extreme(r"\max", arguments, qualifiers, depth)

    def _apply_min(self, arguments, qualifiers, depth):
        return self._extreme(r"\min", arguments, qualifiers, depth)

    def _apply_inverse(self, arguments, qualifiers, depth):
        base = arguments[0]
        return f"{self.latex(base, depth, _ATOM)}^{{-1}}", _POWER

    def _apply_binomial(self, arguments, qualifiers, depth):
        return self._pair(r"\binom{{{}}}{{{}}}", arguments, depth), _ATOM

    # logic (4.4.2, 4.4.3)

    def _apply_not(self, arguments, qualifiers, depth):
        return rf"\lnot {self.latex(arguments[0], depth, _PREFIX)}", _PREFIX

    def _quantified(self, sign: str, arguments, qualifiers, depth) -> tuple[str, int]:
        bound = self._list(qualifiers.get("bvar", []), depth)
        condition = self._list(
            qualifiers.get("condition", []) + qualifiers.get("domainofapplication", []), depth
        )
        head = f"{sign} {bound}"
        if condition:
            head += (r" \in " if "domainofapplication" in qualifiers else ", ") + condition
        body = self._list(arguments, depth)
        return (f"{head} : {body}" if body else head), _ARROW

    def _apply_forall(self, arguments, qualifiers, depth):
        return self._quantified(r"\forall", arguments, qualifiers, depth)

    def _apply_exists(self, arguments, qualifiers, depth):
        return self._quantified(r"\exists", arguments, qualifiers, depth)

    # calculus (4.4.4), sums and limits (4.4.6)

    def _range(self, qualifiers: dict[str, list[etree._Element]], depth: int) -> tuple[str, str]:
        low = self._list(qualifiers.get("lowlimit", []), depth)
        high = self._list(qualifiers.get("uplimit", []), depth)
        for interval in qualifiers.get("interval", []):
            ends = [self.read(child, depth + 1)[0] for child in children_of(interval)]
            if len(ends) == 2:
                low, high = ends
        for place in _CONDITIONS:
            for domain in qualifiers.get(place, []):
                inner = children_of(domain)
                if place == "domainofapplication" and len(inner) == 1 and local_name(inner[0]) == "interval":
                    ends = [self.read(child, depth + 1)[0] for child in children_of(inner[0])]
                    if len(ends) == 2:
                        low, high = ends
                        continue
                low = self.read(domain, depth)[0]
        return low, high

    def _apply_int(self, arguments, qualifiers, depth):
        low, high = self._range(qualifiers, depth)
        bound = [self.read(child, depth)[0] for child in qualifiers.get("bvar", [])]
        body = None
        if len(arguments) == 2 and not low:  # strict: a domain, then a function
            domain, function = arguments
            ends = children_of(domain)
            if len(ends) == 3 and local_name(domain) == "apply":
                low, high = (self.read(child, depth + 1)[0] for child in ends[1:])
            elif local_name(domain) == "interval" and len(ends) == 2:
                low, high = (self.read(child, depth + 1)[0] for child in ends)
            else:
                low = self.read(domain, depth)[0]
            arguments = [function]
        if len(arguments) == 1 and not bound:
            bound, body = self._opened(arguments[0], depth)
        sign = r"\int" + (f"_{{{low}}}" if low else "") + (f"^{{{high}}}" if high else "")
        body = body if body is not None else _join([self.latex(child, depth, _SUM) for child in arguments])
        measure = "".join(rf" \, d{variable}" for variable in bound)
        return f"{sign} {body}{measure}", _PRODUCT

    def _opened(self, function: etree._Element, depth: int) -> tuple[list[str], str]:
        """Bound variables and body of a `lambda`, written either way."""
        children = children_of(function)
        if local_name(function) in ("bind", "lambda"):
            variables = [self.read(child, depth + 1)[0] for child in children if local_name(child) == "bvar"]
            body = self.read(children[-1], depth + 1)[0] if children else ""
            return variables, body
        return [], self.read(function, depth)[0]

    def _big(
        self,
        sign: str,
        arguments: list[etree._Element],
        qualifiers: dict[str, list[etree._Element]],
        depth: int,
    ) -> tuple[str, int]:
        low, high = self._range(qualifiers, depth)
        bound = self._list(qualifiers.get("bvar", []), depth)
        body = None
        if len(arguments) == 2 and not bound:  # strict
            ends = children_of(arguments[0])
            if len(ends) == 3:
                low, high = (self.read(child, depth + 1)[0] for child in ends[1:])
            variables, body = self._opened(arguments[1], depth)
            bound = ", ".join(variables)
        if bound and "condition" not in qualifiers:
            domain = "domainofapplication" in qualifiers and not high
            low = f"{bound} \\in {low}" if domain else f"{bound}={low}" if low else bound
        body = (
            body if body is not None else _join([self.latex(child, depth, _SUM + 1) for child in arguments])
        )
        return sign + (f"_{{{low}}}" if low else "") + (f"^{{{high}}}" if high else "") + f" {body}", _PRODUCT

    def _apply_sum(self, arguments, qualifiers, depth):
        return self._big(r"\sum", arguments, qualifiers, depth)

    def _apply_product(self, arguments, qualifiers, depth):
        return self._big(r"\prod", arguments, qualifiers, depth)

    def _apply_limit(self, arguments, qualifiers, depth):
        bound = self._list(qualifiers.get("bvar", []), depth)
        low = self._list(qualifiers.get("lowlimit", []), depth)
        under = self._list(qualifiers.get("condition", []), depth) or rf"{bound} \to {low}"
        return (
            rf"\lim_{{{under}}} {_join([self.latex(child, depth, _PRODUCT) for child in arguments])}",
            _PRODUCT,
        )

    def _apply_diff(self, arguments, qualifiers, depth):
        body = arguments[0] if arguments else None
        bound = qualifiers.get("bvar", [])
        if not bound:
            return f"{self.latex(body, depth, _ATOM)}'" if body is not None else "", _POWER
        return self._derivative("d", arguments, bound, depth)

    def _apply_partialdiff(self, arguments, qualifiers, depth):
        bound = qualifiers.get("bvar", [])
        if not bound and len(arguments) == 2:
            indices = arguments[0]
            inner = self._list(children_of(indices) or [indices], depth + 1)
            return f"D_{{{inner}}} {self.latex(arguments[1], depth, _ATOM)}", _PREFIX
        total = self._list(qualifiers.get("degree", []), depth)
        return self._derivative(r"\partial ", arguments, bound, depth, total)

    def _derivative(
        self,
        d: str,
        arguments: list[etree._Element],
        bound: list[etree._Element],
        depth: int,
        total: str = "",
    ) -> tuple[str, int]:
        below, orders = [], []
        for variable in bound:
            parts = children_of(variable)
            degree = next((child for child in parts if local_name(child) == "degree"), None)
            name = self._list([child for child in parts if child is not degree], depth + 1)
            order = self.read(degree, depth + 1)[0] if degree is not None else "1"
            orders.append(order)
            below.append(f"{d}{name}" + (f"^{{{order}}}" if order != "1" else ""))
        if not total:
            if all(order.isdecimal() and len(order) < 6 for order in orders):
                total = str(sum(map(int, orders)))
            else:
                total = "+".join(orders)
        power = f"^{{{total}}}" if total not in ("", "1") else ""
        body, level = self.read(arguments[0], depth) if arguments else ("", _ATOM)
        bottom = r" \, ".join(below)
        if level == _ATOM and len(body) < 12:
            top = f"{d.strip()}{power}" + (" " if d.startswith("\\") and not power else "") + body
            return rf"\frac{{{top}}}{{{bottom}}}", _PREFIX
        if level < _PREFIX:
            body = rf"\left({body}\right)"
        return rf"\frac{{{d.strip()}{power}}}{{{bottom}}} {body}", _PRODUCT

    # linear algebra (4.4.9), statistics (4.4.8)

    def _apply_determinant(self, arguments, qualifiers, depth):
        return self._function(r"\det", arguments, depth)

    def _apply_transpose(self, arguments, qualifiers, depth):
        return f"{self.latex(arguments[0], depth, _ATOM)}^{{T}}", _POWER

    def _apply_selector(self, arguments, qualifiers, depth):
        return f"{self.latex(arguments[0], depth, _ATOM)}_{{{self._list(arguments[1:], depth)}}}", _POWER

    def _apply_sdev(self, arguments, qualifiers, depth):
        return self._function(r"\sigma", arguments, depth)

    def _apply_variance(self, arguments, qualifiers, depth):
        return rf"\sigma^{{2}}\left({self._list(arguments, depth)}\right)", _POWER

    def _apply_moment(self, arguments, qualifiers, depth):
        degree = self._list(qualifiers.get("degree", []), depth)
        return (
            rf"\left\langle {self._list(arguments, depth)}^{{{degree}}}\right\rangle"
            + (f"_{{{about}}}" if (about := self._list(qualifiers.get("momentabout", []), depth)) else "")
        ), _ATOM

    # containers (4.4.1.1 and following)

    def _read_interval(self, element, children, depth):
        return self._interval(children, element.get("closure", "closed"), depth)

    def _interval(self, children: list[etree._Element], closure: str, depth: int) -> tuple[str, int]:
        left, right = _BRACKETS.get(closure, ("[", "]"))
        return rf"\left{left}{self._list(children[:2], depth)}\right{right}", _ATOM

    def _read_set(self, element, children, depth):
        bound = [child for child in children if local_name(child) == "bvar"]
        conditions = [child for child in children if local_name(child) in _CONDITIONS]
        members = [child for child in children if local_name(child) not in ("bvar", *_CONDITIONS)]
        inner = self._list(members or bound, depth)
        if conditions:
            inner += r" \mid " + self._list(conditions, depth)
        return rf"\left\{{{inner}\right\}}", _ATOM

    def _read_list(self, element, children, depth):
        members = [child for child in children if local_name(child) not in ("bvar", "condition")]
        return rf"\left({self._list(members or children, depth)}\right)", _ATOM

    def _read_vector(self, element, children, depth):
        rows = r" \\ ".join(self.read(child, depth)[0] for child in children)
        return rf"\begin{{pmatrix}}{rows}\end{{pmatrix}}", _ATOM

    def _read_matrix(self, element, children, depth):
        rows = r" \\ ".join(self.read(child, depth)[0] for child in children)
        return rf"\begin{{pmatrix}}{rows}\end{{pmatrix}}", _ATOM

    def _read_matrixrow(self, element, children, depth):
        return " & ".join(self.read(child, depth)[0] for child in children), _ATOM

    def _read_piecewise(self, element, children, depth):
        rows = []
        for child in children:
            parts = [self.read(part, depth + 1)[0] for part in children_of(child)]
            if local_name(child) == "otherwise":
                parts.append(r"\text{otherwise}")
            rows.append(" & ".join(parts))
        body = r" \\ ".join(rows)
        return rf"\begin{{cases}}{body}\end{{cases}}", _ATOM

    def _read_lambda(self, element, children, depth):
        bound = [child for child in children if local_name(child) == "bvar"]
        body = [child for child in children if local_name(child) not in _QUALIFIERS]
        variables = self._list(bound, depth)
        if len(bound) > 1:
            variables = f"({variables})"
        return rf"{variables} \mapsto {self._list(body, depth)}", _ARROW

    def _apply_lambda(self, arguments, qualifiers, depth):
        bound = qualifiers.get("bvar", [])
        variables = self._list(bound, depth)
        return (
            rf"{variables if len(bound) < 2 else '(' + variables + ')'} \mapsto {self._list(arguments, depth)}",
            _ARROW,
        )

    def _read_declare(self, element, children, depth):
        return " = ".join(self.read(child, depth)[0] for child in children), _RELATION

    def _read_condition(self, element, children, depth):
        return ", ".join(self.read(child, depth)[0] for child in children), _RELATION

    _read_bvar = _read_condition


def _plain(text: str) -> str:
    text = text.replace("\\", r"\backslash ")
    return (
        re.sub(r"[{}%#&_$]", lambda found: "\\" + found[0], text).replace("^", r"\^{}").replace("~", r"\sim ")
    )


def _tall(latex: str) -> bool:
    return any(command in latex for command in (r"\frac", r"\begin", r"\sum", r"\int", r"\prod", r"\sqrt"))


def _as_mi(element: etree._Element, text: str) -> etree._Element:
    token = element.makeelement("mi", {})
    token.text = text
    return token
