"""ASCIIMath: what MathJax makes of the same expressions, and what hostile input may cost."""

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.asciimath import AsciiMathError, asciimath_to_latex

# Rendered by MathJax 3.2.2, each of these pairs is one and the same tree: the ASCIIMath through its AsciiMath input,
# the LaTeX through its TeX input (grouping, spacing and the width of brackets apart).
AS_MATHJAX_READS_IT = r"""
sum_(i=1)^n i^3=((n(n+1))/2)^2  =>  \sum_{i=1}^{n}i^{3}=\left(\frac{n(n+1)}{2}\right)^{2}
x = (-b +- sqrt(b^2 - 4ac))/(2a)  =>  x=\frac{-b\pm\sqrt{b^{2}-4ac}}{2a}
[[a,b],[c,d]]((n),(k))  =>  \begin{bmatrix}a & b \\ c & d\end{bmatrix}\begin{pmatrix}n \\ k\end{pmatrix}
{(2x,+,17y,=,23),(x,-,y,=,5):}  =>  \begin{cases}2x & + & 17y & = & 23 \\ x & - & y & = & 5\end{cases}
abs(x) <= |y|  =>  \left|x\right|\leq|y|
f(x)/g(x)  =>  \frac{f(x)}{g(x)}
sin^2(x)+cos^2 x = 1  =>  \sin^{2}(x)+\cos^{2}x=1
x_1^2 "if " x>0  =>  x_{1}^{2}\text{if }x>0
root(3)(x) + frac(1)(2)  =>  \sqrt[3]{x}+\frac{1}{2}
stackrel(def)(=)  =>  \stackrel{def}{=}
{x | x > 0}  =>  \{x\mid x>0\}
lim_(x->oo) 1/x  =>  \lim_{x\to\infty}\frac{1}{x}
d/dxf(x)=lim_(h->0)(f(x+h)-f(x))/h  =>  \frac{d}{dx}f(x)=\lim_{h\to0}\frac{f(x+h)-f(x)}{h}
f(x) = {(x^2, if x>0),(0, if x<=0):}  =>  f(x)=\begin{cases}x^{2} & \text{if }x>0 \\ 0 & \text{if }x\leq0\end{cases}
[[a,b,|,c],[d,e,|,f]]  =>  \left[\begin{array}{cc|c}a & b & c \\ d & e & f\end{array}\right]
int_0^1f(x)dx  =>  \int_{0}^{1}f(x)dx
a//b  =>  a/b
(a,b]={x in RR | a < x <= b}  =>  (a,b]=\{x\in\mathbb{R}\mid a<x\leq b\}
abc-123.45^-1.1  =>  abc-123.45^{-1.1}
ubrace(1+2+3+4)_("4 terms")  =>  \underbrace{1+2+3+4}_{\text{4 terms}}
obrace(1+2+3+4)^("4 terms")  =>  \overbrace{1+2+3+4}^{\text{4 terms}}
log_2(x)/5  =>  \frac{\log_{2}(x)}{5}
log_2 x/5  =>  \frac{\log_{2}x}{5}
sinx/cosx  =>  \frac{\sin x}{\cos x}
1/2/3  =>  \frac{1}{2}/3
a/b*c/d  =>  \frac{a}{b}\cdot\frac{c}{d}
x_i^j/y  =>  \frac{x_{i}^{j}}{y}
[a+b]/{c+d}  =>  \frac{a+b}{c+d}
|x|/2  =>  \frac{|x|}{2}
|x|+|y|  =>  |x|+|y|
norm(vecx)  =>  \left\|\vec{x}\right\|
floor(x/2)+ceil(y)  =>  \left\lfloor\frac{x}{2}\right\rfloor+\left\lceil y\right\rceil
sqrt2  =>  \sqrt{2}
sqrt x/2  =>  \frac{\sqrt{x}}{2}
sqrt(x)/y  =>  \frac{\sqrt{x}}{y}
root3x  =>  \sqrt[3]{x}
x^-1  =>  x^{-1}
x^(-1)  =>  x^{-1}
e^-x  =>  e^{-x}
e^(ix)=cosx+isinx  =>  e^{ix}=\cos x+i\sin x
10^-3  =>  10^{-3}
2^3x  =>  2^{3}x
(:a,b:)  =>  \langle a,b\rangle
<<a,b>>  =>  \langle a,b\rangle
{:(a,b),(c,d):}  =>  \begin{matrix}a & b \\ c & d\end{matrix}
((1,2),(3,4))  =>  \begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}
|(a,b),(c,d)|  =>  \begin{vmatrix}a & b \\ c & d\end{vmatrix}
((a),(b))  =>  \begin{pmatrix}a \\ b\end{pmatrix}
((a,b))  =>  \begin{pmatrix}a & b\end{pmatrix}
{1,2,3}  =>  \{1,2,3\}
dy/dx  =>  \frac{dy}{dx}
(dy)/(dx)  =>  \frac{dy}{dx}
int_a^b x^2 dx  =>  \int_{a}^{b}x^{2}dx
prod_(k=1)^n k  =>  \prod_{k=1}^{n}k
nnn A_i  =>  \bigcap A_{i}
lim_(n to oo) a_n  =>  \lim_{n\to\infty}a_{n}
max_(x in A) f(x)  =>  \max_{x\in A}f(x)
min(a,b)  =>  \min(a,b)
gcd(a,b)=1  =>  \gcd(a,b)=1
a mod b  =>  a\bmod b
a -= b mod n  =>  a\equiv b\bmod n
x!=y  =>  x\neq y
x<=y>=z  =>  x\leq y\geq z
x lt y gt z  =>  x<y>z
x=>y  =>  x\Rightarrow y
x<=>y  =>  x\Leftrightarrow y
p and q  =>  p\text{ and }q
p or q  =>  p\text{ or }q
A sub B sube C  =>  A\subset B\subseteq C
x !in A  =>  x\notin A
a xx b  =>  a\times b
a -: b  =>  a\div b
a ** b  =>  a\ast b
a o+ b  =>  a\oplus b
a ox b  =>  a\otimes b
a|b  =>  a\mid b
1,000  =>  1,000
cdots vdots ddots  =>  \cdots\vdots\ddots
omega Omega  =>  \omega\Omega
/_ABC  =>  \angle ABC
/_\  =>  \triangle
aleph_0  =>  \aleph_{0}
CC NN QQ RR ZZ  =>  \mathbb{C}\mathbb{N}\mathbb{Q}\mathbb{R}\mathbb{Z}
"speed"=v  =>  \text{speed}=v
x"m"  =>  x\text{m}
color(red)(x)  =>  x
cancel(x)  =>  \cancel{x}
overset(a)(b)  =>  \overset{a}{b}
underset(a)(b)  =>  \underset{a}{b}
tilde x  =>  \tilde{x}
overarc(AB)  =>  \overparen{AB}
a quad b  =>  a\quad b
a_(i,j)  =>  a_{i,j}
a_ij  =>  a_{i}j
a_12  =>  a_{12}
x_10  =>  x_{10}
A^T  =>  A^{T}
2(x+1)  =>  2(x+1)
f(x,y)=x^2+y^2  =>  f(x,y)=x^{2}+y^{2}
f(g(x))  =>  f(g(x))
g^-1(x)  =>  g^{-1}(x)
f^2(x)/3  =>  \frac{f^{2}(x)}{3}
lnx  =>  \ln x
exp(x)  =>  \exp(x)
arcsin x  =>  \arcsin x
tan^-1 x  =>  \tan^{-1}x
sec x csc y  =>  \sec x\csc y
sinh x + sech x  =>  \sinh x+\operatorname{sech}x
det(A)  =>  \det(A)
|A|=|B|  =>  |A|=|B|
f:A|->B  =>  f:A\mapsto B
x larr y rarr z harr w  =>  x\leftarrow y\rightarrow z\leftrightarrow w
uarr darr  =>  \uparrow\downarrow
a ~~ b  =>  a\approx b
a ~= b  =>  a\cong b
a ~ b  =>  a\sim b
a prop b  =>  a\propto b
|-- p  =>  \vdash p
|== p  =>  \models p
x_{n+1}  =>  x_{n+1}
{x}/{y}  =>  \frac{x}{y}
(x/y)  =>  \left(\frac{x}{y}\right)
(x/y)^2  =>  \left(\frac{x}{y}\right)^{2}
sum x_i  =>  \sum x_{i}
sum_i x_i  =>  \sum_{i}x_{i}
int x  =>  \int x
2x/3  =>  2\frac{x}{3}
ab/cd  =>  a\frac{b}{c}d
3/4x  =>  \frac{3}{4}x
vec(AB)  =>  \vec{AB}
vec(AB)*vec(CD)=0  =>  \vec{AB}\cdot\vec{CD}=0
bar x = 1/n sum_(i=1)^n x_i  =>  \overline{x}=\frac{1}{n}\sum_{i=1}^{n}x_{i}
P(A|B)=(P(B|A)P(A))/(P(B))  =>  P(A\mid B)=\frac{P(B\mid A)P(A)}{P(B)}
((n),(k))=(n!)/(k!(n-k)!)  =>  \begin{pmatrix}n \\ k\end{pmatrix}=\frac{n!}{k!(n-k)!}
int_(-oo)^oo e^(-x^2) dx = sqrt(pi)  =>  \int_{-\infty}^{\infty}e^{-x^{2}}dx=\sqrt{\pi}
E=mc^2  =>  E=mc^{2}
|x-a| < delta => |f(x)-L| < epsilon  =>  |x-a|<\delta\Rightarrow|f(x)-L|<\epsilon
[[1,0],[0,1]]^-1  =>  \begin{bmatrix}1 & 0 \\ 0 & 1\end{bmatrix}^{-1}
[[x_1],[x_2]]  =>  \begin{bmatrix}x_{1} \\ x_{2}\end{bmatrix}
[(1,2),(3,4)]  =>  \begin{bmatrix}1 & 2 \\ 3 & 4\end{bmatrix}
{[1,2],[3,4]}  =>  \begin{Bmatrix}1 & 2 \\ 3 & 4\end{Bmatrix}
A ^^ B  =>  A\wedge B
A vv B  =>  A\vee B
min x/2  =>  \min\frac{x}{2}
log_2 x/2  =>  \frac{\log_{2}x}{2}
log_2(x)/2  =>  \frac{\log_{2}(x)}{2}
sin^2 x/2  =>  \frac{\sin^{2}x}{2}
det A/2  =>  \frac{\det A}{2}
lim_(x->0) sin x/x  =>  \lim_{x\to0}\frac{\sin x}{x}
log(x)/log(2)  =>  \frac{\log(x)}{\log(2)}
a/-b  =>  \frac{a}{-b}
x_-1  =>  x_{-1}
"""


@pytest.mark.parametrize(
    "text, expected", [line.split("  =>  ") for line in AS_MATHJAX_READS_IT.strip().splitlines()]
)
def test_as_mathjax_reads_it(text, expected):
    assert asciimath_to_latex(text) == expected


# Where MathJax keeps no more than the glyphs, or LaTeX has something better.
@pytest.mark.parametrize(
    "text, expected",
    [
        ("hat(ab) bar(xy) ulA vec v", r"\hat{ab}\overline{xy}\underline{A}\vec{v}"),
        ("bb{AB3}.bbb(AB].cc(AB).fr{AB}", r"\mathbf{AB3}.\mathbb{AB}.\mathcal{AB}.\mathfrak{AB}"),
        ("AA x in RR EE y", r"\forall x\in\mathbb{R}\exists y"),
        ("sin x^2", r"\sin x^{2}"),
        ("(x+1)^2", "(x+1)^{2}"),
        ("||x||", r"\|x\|"),
        ("f'(x)", "f'(x)"),
        ("((1,2))/3", r"\frac{\begin{pmatrix}1 & 2\end{pmatrix}}{3}"),
        ("text(a_b 5%)", r"\text{a\_b 5\%}"),
        ("", ""),
    ],
)
def test_expressions(text, expected):
    assert asciimath_to_latex(text) == expected


@given(st.text('ab12+-^_/()[]{}|,: \\"sqrtfracum.', max_size=40))
def test_braces_balance_whatever_is_typed(text):
    latex = asciimath_to_latex(text).replace("\\\\", "").replace("\\{", "").replace("\\}", "")
    depth = 0
    for char in latex:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0
    assert latex.count("\\left") == latex.count("\\right") + latex.count("\\leftarrow")


@pytest.mark.parametrize("piece", ["(", "|", "|x^", "sqrt", "((1,2),", "x^", "a/", '"'])
def test_hostile_repetition_ends(piece):
    start = time.process_time()
    with contextlib.suppress(AsciiMathError):
        asciimath_to_latex(piece * (1_000_000 // len(piece)))
    assert time.process_time() - start < 20
