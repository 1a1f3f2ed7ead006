"""Constants of the math library for float32 and float64.

How the coefficients were obtained: each is the minimax polynomial (Remez exchange in 300-bit arithmetic, the
error weighted so that it is the *result's* relative error that is even), its coefficients then rounded
to the dtype. The figure beside each list is the largest weighted error before that rounding; a dtype's own rounding
is 2**-24 (float32) or 2**-53 (float64). ``T`` stands for the list, ``z`` for its argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """What the formulas need to know of a float dtype.

    Attributes
    ----------
    kind, integer : str
        The dtype and the signed integer of its width.
    mantissa : int
        Stored bits of the significand.
    bias : int
        Exponent bias.
    log2_high, log2_low : float
        ln 2 rounded to the dtype, and what the rounding lost.
    exp_low, exp_high : float
        At and below, at and above these exp is 0 or infinite.
    expm1_low : float
        At and below this expm1 is -1.
    tanh_high : float
        From here on tanh is 1.
    erf_split, erf_high : float
        Where erf changes its formula; where it has become 1.
    erf_root : int
        ``erf_tail`` gives this root of 1 - erf, or with 0 the negative of its logarithm.
    exp, log, sine, cosine, erf, erf_tail : tuple of float
        Polynomials, lowest power first.
    """

    kind: str
    integer: str
    mantissa: int
    bias: int
    log2_high: float
    log2_low: float
    exp_low: float
    exp_high: float
    expm1_low: float
    tanh_high: float
    erf_split: float
    erf_high: float
    exp: tuple[float, ...]
    log: tuple[float, ...]
    sine: tuple[float, ...]
    cosine: tuple[float, ...]
    erf: tuple[float, ...]
    erf_root: int
    erf_tail: tuple[float, ...]

    @property
    def least_normal(self) -> float:
        """The least positive number with a full significand."""
        return 2.0 ** (1 - self.bias)

    @property
    def shifter(self) -> float:
        """1.5 * 2**mantissa: added to a small number, it leaves the nearest whole number in the low bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def shifter_bits(self) -> int:
        """Bit pattern of :attr:`shifter`."""
        return ((self.mantissa + self.bias) << self.mantissa) | (1 << (self.mantissa - 1))

    @property
    def root_half_bits(self) -> int:
        """Bit pattern of about sqrt(1/2), which splits the octaves of a logarithm."""
        return ((self.bias - 1) << self.mantissa) | int((math.sqrt(2) - 1) * 2**self.mantissa)


FLOAT32 = Format(
    kind="float32",
    integer="int32",
    mantissa=23,
    bias=127,
    log2_high=0.693147182464599609375,
    log2_low=-1.904654299957767878541823432e-9,
    exp_low=-104.0,
    exp_high=89.0,
    expm1_low=-18.0,
    tanh_high=9.5,
    erf_split=1.0,
    erf_high=4.0,
    # (e**z - 1 - z) / z**2 on |z| <= ln(2)/2; 2**-26.1 of expm1
    exp=(0.5, 0.1666654497385025, 0.041666287928819656, 0.008366378955543041, 0.001394613878801465),
    # (2 atanh(s) / s - 2) / z, z = s**2 <= ((sqrt(2)-1)/(sqrt(2)+1))**2; 2**-30.1 of the logarithm
    log=(0.6666676998138428, 0.3997805118560791, 0.29860448837280273),
    # (sin(t) - t) / t**3, z = t**2 <= (pi/4)**2; 2**-27.9
    sine=(-0.16666655242443085, 0.008332200348377228, -0.0001951959275174886),
    # (cos(t) - 1 + z/2) / z**2, same z; 2**-32.7
    cosine=(0.041666653007268906, -0.0013887586537748575, 2.446023609081749e-05),
    # erf(t) / t - 1, z = t**2 <= 1; 2**-29.7
    erf=(
        0.12837916612625122, -0.3761262595653534, 0.11283600330352783, -0.026854446157813072,
        0.005189536605030298, -0.0008020845707505941, 7.889119297033176e-05,
    ),
    # (1 - erf(z))**(1/4) on 1 <= z <= 4, weighted so that the error of 1 - erf(z) is even: 2**-26.8, absolute
    erf_root=4,
    erf_tail=(
        1.0021893, -0.29364446, -0.0931874, -0.017676609, 0.04396, -0.012819849, 0.0007957954, 0.00017480706,
        -2.2057426e-05,
    ),
)  # fmt: skip

FLOAT64 = Format(
    kind="float64",
    integer="int64",
    mantissa=52,
    bias=1023,
    log2_high=0.693147180559945286226764,
    log2_low=2.319046813846299558e-17,
    exp_low=-746.0,
    exp_high=710.0,
    expm1_low=-38.0,
    tanh_high=20.0,
    erf_split=1.0,
    erf_high=6.0,
    # as above: 2**-61.6
    exp=(
        0.5, 0.16666666666666674, 0.0416666666666667, 0.008333333333322429, 0.0013888888888868292,
        0.000198412698843489, 2.4801587358301456e-05, 2.755724582077883e-06, 2.755724438376803e-07,
        2.5108523488496325e-08, 2.0924000281506035e-09,
    ),
    # 2**-59.3
    log=(
        0.6666666666666715, 0.3999999999951817, 0.2857142872264774, 0.2222220036832871,
        0.18183479898622368, 0.15316033748503613, 0.14777537943257257,
    ),
    # 2**-57.8
    sine=(
        -0.16666666666666638, 0.008333333333323686, -0.0001984126983062714, 2.7557313930386243e-06,
        -2.5050790302440813e-08, 1.589843457614529e-10,
    ),
    # 2**-63.1
    cosine=(
        0.04166666666666666, -0.0013888888888883308, 2.480158729481609e-05, -2.7557315792665366e-07,
        2.0875907203943746e-09, -1.1368635712688577e-11,
    ),
    # 2**-62.8
    erf=(
        0.1283791670955126, -0.3761263890318375, 0.11283791670954885, -0.026866170645077875, 0.005223977624828431,
        -0.0008548326981425542, 0.0001205533113295582, -1.4925595772180906e-05, 1.64610084778027e-06,
        -1.6350396222864617e-07, 1.466032872274226e-08, -1.137495573607015e-09, 5.960685338520971e-11,
    ),
    # -log(1 - erf(z)) on 1 <= z <= 6, weighted by 1 - erf(z): 2**-62.4
    erf_root=0,
    erf_tail=(
        2.9430180800554073e-08, 1.1283788990438819, 0.6366208140632061, 0.10277057797992034, -0.019127551886868016,
        -0.00020306069558343907, 0.0016758546943339509, -0.0005531817736609394, -2.1404731142738926e-05,
        0.00011042748545085281, -6.459141235979451e-05, 2.4214987267615508e-05, -6.7639684852124146e-06,
        1.4647346065420612e-06, -2.4717769518363126e-07, 3.20520877454509e-08, -3.0925279920527817e-09,
        2.093306045448074e-10, -8.872103234392128e-12, 1.7713117719491658e-13,
    ),
)  # fmt: skip

#: What float32's power needs of float64: exp and log to about 2**-37, far below float32's rounding.
#: exp: (e**z - 1 - z) / z**2, 2**-37.4; log: as above, 2**-37.5.
POWER32_EXP = (
    0.4999999999976987, 0.16666666750590717, 0.041666666940441695, 0.008333289881550372, 0.001388881120414337,
    0.00019904456264034176, 2.488174785656671e-05,
)  # fmt: skip
POWER32_LOG = (0.6666666573891943, 0.40000318964993337, 0.28538156333448544, 0.23568383124249573)

#: ((atanh(s) / s - 1) / z - 1/3) / z, z = s**2 as in ``log``: what follows the first two terms in float64's power;
#: absolute error 2**-59.9.
POWER64_LOG = (
    0.2, 0.1428571428571469, 0.1111111111082409, 0.090909091685173, 0.07692297398147405, 0.06667406658524024,
    0.05853007442209738, 0.05862704746816047,
)  # fmt: skip

FORMATS = {"float32": FLOAT32, "float64": FLOAT64}
