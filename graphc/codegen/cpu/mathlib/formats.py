"""Constants of the math library for float32 and float64.

The coefficients: each list is the minimax polynomial (Remez exchange in arithmetic of 180 bits or more, the
error weighted so that it is the *result's* relative error that is even), its coefficients then rounded to the dtype; in
most, the two lowest ones first, and the others found again beside them. The figure beside each list is the largest
weighted error before that rounding; a dtype's own rounding is 2**-24 (float32) or 2**-53 (float64). ``T`` stands for
the list, ``z`` for its argument.
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
    log10_2, log10_e : tuple of float
        Logarithms to base 10 of 2 and e, each as the sum of two floats.
    quarter_pi : tuple of float
        pi/4 as the sum of two floats.
    exp_low, exp_high : float
        At and below, at and above these exp is 0 or infinite.
    exp2_low, exp2_high : float
        The same of exp2.
    sinh_high : float
        From here on sinh and cosh are infinite.
    expm1_low : float
        At and below this expm1 is -1.
    tanh_high : float
        From here on tanh is 1.
    erf_split, erf_high : float
        Where erf changes its formula; where it has become 1.
    erf_root : int
        ``erf_tail`` gives this root of 1 - erf, or with 0 the negative of its logarithm.
    erfc_high : float
        From here on erfc is 0.
    exp, exp2, log, sine, cosine, sinh, cosh, asin, atan, atanh, inverse_cube_root, erf, erf_tail, erfc : tuple of float
        Polynomials, lowest power first.
    """

    kind: str
    integer: str
    mantissa: int
    bias: int
    log2_high: float
    log2_low: float
    log10_2: tuple[float, float]
    log10_e: tuple[float, float]
    quarter_pi: tuple[float, float]
    exp_low: float
    exp_high: float
    exp2_low: float
    exp2_high: float
    sinh_high: float
    expm1_low: float
    tanh_high: float
    erf_split: float
    erf_high: float
    erfc_high: float
    exp: tuple[float, ...]
    exp2: tuple[float, ...]
    log: tuple[float, ...]
    sine: tuple[float, ...]
    cosine: tuple[float, ...]
    sinh: tuple[float, ...]
    cosh: tuple[float, ...]
    asin: tuple[float, ...]
    atan: tuple[float, ...]
    atanh: tuple[float, ...]
    inverse_cube_root: tuple[float, ...]
    erf: tuple[float, ...]
    erf_root: int
    erf_tail: tuple[float, ...]
    erfc: tuple[float, ...]

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
    log10_2=(0.3010300099849701, -1.432098883924482e-08),
    log10_e=(0.4342944920063019, -1.0103049952192578e-08),
    quarter_pi=(0.7853981852531433, -2.1855694143368964e-08),
    exp_low=-104.0,
    exp_high=89.0,
    exp2_low=-151.0,
    exp2_high=128.0,
    sinh_high=89.416,
    expm1_low=-18.0,
    tanh_high=9.5,
    erf_split=1.0,
    erf_high=4.0,
    erfc_high=10.1,
    # (e**z - 1 - z) / z**2 on |z| <= ln(2)/2; 2**-26.1 of expm1
    exp=(0.5, 0.1666654497385025, 0.041666287928819656, 0.008366378955543041, 0.001394613878801465),
    # (2**z - 1) / z on |z| <= 1/2; 2**-29.0 of exp2
    exp2=(0.6931472, 0.2402265, 0.055503596, 0.0096180625, 0.0013390983, 0.00015462963),
    # (2 atanh(s) / s - 2) / z, z = s**2 <= ((sqrt(2)-1)/(sqrt(2)+1))**2; 2**-30.1 of the logarithm
    log=(0.6666676998138428, 0.3997805118560791, 0.29860448837280273),
    # (sin(t) - t) / t**3, z = t**2 <= (pi/4)**2; 2**-27.9
    sine=(-0.16666655242443085, 0.008332200348377228, -0.0001951959275174886),
    # (cos(t) - 1 + z/2) / z**2, same z; 2**-32.7
    cosine=(0.041666653007268906, -0.0013887586537748575, 2.446023609081749e-05),
    # (sinh(t) / t - 1) / z, z = t**2 <= (ln(2)/2)**2; 2**-37.5
    sinh=(0.16666667, 0.008333175, 0.00019974096),
    # (cosh(t) - 1) / z, same z; 2**-34.3
    cosh=(0.5, 0.04166646, 0.0013935429),
    # (asin(t) / t - 1) / z, z = t**2 <= 1/4; 2**-27.6
    asin=(0.16666754, 0.07495252, 0.045476038, 0.024152119, 0.042211734),
    # (atan(t) / t - 1) / z, z = t**2 <= tan(pi/8)**2; 2**-30.5
    atan=(-0.33333316, 0.19998533, -0.1424451, 0.10600174, -0.060927477),
    # (atanh(t) / t - 1) / z, z = t**2 <= 0.0405; 2**-28.3
    atanh=(0.3333348, 0.19978243, 0.15194364),
    # z**(-1/3) on 1 <= z <= 2; 2**-17.4
    inverse_cube_root=(1.7810571, -1.5660262, 1.2437813, -0.59786946, 0.15607025, -0.017018832),
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
    # (1 + 2x) e**(x**2) erfc(x) - 1, z = (x - 4) / (x + 4), 0 <= x <= 10.1; 2**-30.3
    erfc=(
        0.23299512, -0.13962111, 0.015379128, 0.06809647, -0.101028405, 0.09374664, -0.066401884, 0.03704943,
        -0.016041417, 0.005402117, -0.0007411862, -0.0005121895,
    ),
)  # fmt: skip

FLOAT64 = Format(
    kind="float64",
    integer="int64",
    mantissa=52,
    bias=1023,
    log2_high=0.693147180559945286226764,
    log2_low=2.319046813846299558e-17,
    log10_2=(0.3010299956639812, -2.8037281277851704e-18),
    log10_e=(0.4342944819032518, 1.098319650216765e-17),
    quarter_pi=(0.7853981633974483, 3.061616997868383e-17),
    exp_low=-746.0,
    exp_high=710.0,
    exp2_low=-1076.0,
    exp2_high=1024.0,
    sinh_high=710.476,
    expm1_low=-38.0,
    tanh_high=20.0,
    erf_split=1.0,
    erf_high=6.0,
    erfc_high=27.3,
    # as above: 2**-61.6
    exp=(
        0.5, 0.16666666666666674, 0.0416666666666667, 0.008333333333322429, 0.0013888888888868292,
        0.000198412698843489, 2.4801587358301456e-05, 2.755724582077883e-06, 2.755724438376803e-07,
        2.5108523488496325e-08, 2.0924000281506035e-09,
    ),
    # 2**-64.4
    exp2=(
        0.6931471805599453, 0.24022650695910072, 0.05550410866482351, 0.00961812910762803, 0.001333355814597978,
        0.0001540353039408955, 1.5252734234794126e-05, 1.3215486295007033e-06, 1.0177898874578444e-07,
        7.055066693394127e-09, 4.4789340391744026e-10, 2.5519002057011135e-11,
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
    # 2**-61.7
    sinh=(
        0.16666666666666677, 0.008333333333321386, 0.0001984126988675627, 2.7557243583858385e-06,
        2.510925005277876e-08,
    ),
    # 2**-70.6
    cosh=(
        0.5, 0.041666666666666685, 0.0013888888888873283, 2.480158734919983e-05, 2.7557251822277147e-07,
        2.0921768959532244e-09,
    ),
    # 2**-59.8
    asin=(
        0.16666666666666763, 0.07499999999970126, 0.044642857175257344, 0.030381942676789803, 0.022372215859354946,
        0.01735159641041871, 0.01398100671363906, 0.011397397382094054, 0.010788692611178919, 0.003674729666322796,
        0.0217840265426971, -0.021106719135928247, 0.03269549793424991,
    ),
    # 2**-59.5
    atan=(
        -0.333333333333332, 0.19999999999953816, -0.1428571428022009, 0.1111111078464572, -0.09090897791661083,
        0.0769206080924287, -0.06663110639833207, 0.05847935716178959, -0.05039505815990573, 0.03806945080562027,
        -0.017912314540381485,
    ),
    # 2**-62.5
    atanh=(
        0.3333333333333329, 0.2000000000003221, 0.14285714277056044, 0.11111112237697478, 0.0909082794360517,
        0.07695709586321589, 0.06584345604401932, 0.06937422934170077,
    ),
    # 2**-17.4, squared once before use
    inverse_cube_root=(
        1.7810571782848346, -1.5660264317944836, 1.243781700621168, -0.59786967532411, 0.15607032568262286,
        -0.017018842495588094,
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
    # on 0 <= x <= 27.3; 2**-56.1
    erfc=(
        0.2329951186255525, -0.1396211168405627, 0.015379652102620937, 0.06809705425472225, -0.10103906603634881,
        0.0937328349971773, -0.06633036581161927, 0.03716751555772996, -0.016197734058880562, 0.005031969789419745,
        -0.000757773335580602, -0.00019925565013921215, 0.00015062218782350365, -2.4402796847395513e-05,
        -1.1224564892950636e-05, 5.717308232190729e-06, 3.00880439987118e-07, -8.346831688779849e-07,
        6.322225392793997e-08, 1.1521112644120238e-07, -7.961942997741782e-09, -1.3699343080655658e-08,
        -1.8010790264970818e-09,
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
