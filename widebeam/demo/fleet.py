"""The fleet of the demo: eight ships and what is measured on them. All names and values are made up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Final, Literal

Kind = Literal["Decimal", "Integer", "String", "Boolean"]

SHIPS: Final = tuple(f"IMO97{number}" for number in (10221, 10233, 14578, 21903, 30115, 30127, 45512, 58804))
"""Their IMO numbers, as the narrow table's ship_id."""

TICK_SECONDS: Final = 15
"""Between two readings of a fast channel."""

NO_VALUE: Final = 0.01
"""The part of the readings that come without a value, as NULL."""

COLUMNS: Final = "ship_id, data_channel_id, created_time, bool_v, str_v, long_v, double_v, value_format"
"""The columns of a COPY line, in order."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One measured quantity. It reports in every `every`-th tick, around `middle`, within `swing` of it."""

    name: str
    kind: Kind
    every: int = 1
    middle: float = 0.0
    swing: float = 1.0

    def tail(self, tick: int, random: Random) -> str:
        """The end of a COPY line: the four value columns, the format, the end of line."""
        if random.random() < NO_VALUE:
            return f"\\N\t\\N\t\\N\t\\N\t{self.kind}\n"
        match self.kind:
            case "Decimal":
                value = self.middle + self.swing * (math.sin(tick / 97) + random.random() - 0.5)
                return f"\\N\t\\N\t\\N\t{value:.3f}\tDecimal\n"
            case "Integer":
                return f"\\N\t\\N\t{int(self.middle + self.swing * random.random())}\t\\N\tInteger\n"
            case "Boolean":
                return f"{'tf'[tick // self.every % 2]}\t\\N\t\\N\t\\N\tBoolean\n"
            case "String":
                return f"\\N\t{_STATES[int(random.random() * len(_STATES))]}\t\\N\t\\N\tString\n"


_STATES: Final = ("RUN", "STANDBY", "LOCAL CTRL", "ALARM: low pressure", "stopped", "정상", "")
_QUANTITIES: Final = {  # middle and swing
    "Temp": (68.0, 9.0),
    "Press": (4.2, 0.8),
    "Flow": (112.0, 25.0),
    "Level": (61.0, 30.0),
    "Speed": (720.0, 15.0),
    "Power": (1450.0, 400.0),
    "Current": (310.0, 60.0),
    "Voltage": (442.0, 4.0),
    "Load": (71.0, 20.0),
}


def channels() -> list[Channel]:
    """All channels of a ship, the same on each: about 250, three quarters of them decimals."""
    return [*_engine(), *_generators(), *_hull(), *_cargo(), *_machinery()]


def late_comers() -> list[Channel]:
    """Channels that are switched on while the demo runs: columns that nobody had planned."""
    return [
        Channel("Scrubber.Washwater.pH", "Decimal", 1, 7.1, 0.6),
        Channel("CII_Rating (year to date)", "String", 4),
        Channel("Shore connection [50/60 Hz]", "Boolean", 2),
    ]


def _measured(prefix: str, *quantities: str) -> Iterator[Channel]:
    for quantity in quantities:
        middle, swing = _QUANTITIES[quantity.rpartition(".")[2]]
        yield Channel(f"{prefix}.{quantity}", "Decimal", 1, middle, swing)


def _engine() -> Iterator[Channel]:
    for cylinder in range(1, 8):
        unit = f"ME.Cyl{cylinder}"
        yield from _measured(unit, "ExhGas.Temp", "JacketWater.Temp", "PistonCoolOil.Temp", "Liner.Temp", "Pmax.Press")
        yield Channel(f"{unit}.ExhValve.Open", "Boolean", 8)
        yield Channel(f"{unit}.Misfire.Count", "Integer", 2, 0, 3)
    for bearing in range(1, 9):
        yield from _measured(f"ME.MainBearing{bearing}", "Temp")
    for turbo, quantity in product((1, 2), ("ExhIn.Temp", "ExhOut.Temp", "LubOil.Press", "Speed", "ScavAir.Press")):
        yield from _measured(f"ME.TC{turbo}", quantity)
    yield from _measured("ME", "FO.Inlet.Press", "FO.Inlet.Temp", "FO.Flow", "LO.Inlet.Press", "LO.Inlet.Temp", "Power")
    yield Channel("ME.RunHours", "Integer", 2, 48_211, 2)
    yield Channel("ME.Order", "String", 8)
    yield Channel("주기관 회전수 (rpm)", "Decimal", 1, 78.0, 6.0)


def _generators() -> Iterator[Channel]:
    for number in range(1, 5):
        unit = f"GE{number}"
        yield from _measured(unit, "Power", "Voltage", "Current", "Load", "Speed", "LO.Press", "LO.Temp", "FW.Temp")
        yield from _measured(unit, "WindingU.Temp", "WindingV.Temp", "WindingW.Temp", "FO.Flow")
        yield Channel(f"{unit}.Breaker.Closed", "Boolean", 8)
        yield Channel(f"{unit}.RunHours", "Integer", 2, 20_000 + 900 * number, 2)
        yield Channel(f"{unit}.Mode", "String", 8)


def _hull() -> Iterator[Channel]:
    yield Channel("NAV.Latitude", "Decimal", 1, 34.9, 3.0)
    yield Channel("NAV.Longitude", "Decimal", 1, 129.1, 9.0)
    for name, middle, swing in (("SOG (kn)", 14.2, 2.5), ("STW (kn)", 14.0, 2.5), ("Heading [°]", 187.0, 60.0)):
        yield Channel(f"NAV.{name}", "Decimal", 1, middle, swing)
    for name, middle in (("TrueSpeed", 11.0), ("TrueDir", 200.0), ("RelSpeed", 18.0), ("RelDir", 30.0)):
        yield Channel(f"WIND.{name}", "Decimal", 1, middle, 10.0)
    for place in ("Fore", "Aft", "MidPort", "MidStbd"):
        yield Channel(f"HULL.Draft.{place}", "Decimal", 1, 9.8, 0.4)
    for name in ("Roll", "Pitch", "Heel", "Trim"):
        yield Channel(f"HULL.{name}", "Decimal", 1, 0.0, 2.0)
    yield Channel("NAV.Status", "String", 8)
    yield Channel("NAV.Satellites", "Integer", 2, 9, 8)


def _cargo() -> Iterator[Channel]:
    for tank, side in product(range(1, 7), "PS"):
        yield from _measured(f"CARGO.Tank{tank}{side}", "Level", "Temp", "Press")
    for name in ("WBT1P", "WBT1S", "WBT2P", "WBT2S", "WBT3P", "WBT3S", "FPT", "APT"):
        yield from _measured(f"BALLAST.{name}", "Level")
        yield Channel(f"BALLAST.{name}.Valve.Open", "Boolean", 8)


def _machinery() -> Iterator[Channel]:
    for unit, number in product(("SW", "FW.LT", "FW.HT", "LO", "FO.Booster", "Bilge"), (1, 2)):
        yield from _measured(f"PUMP.{unit}{number}", "Current", "Press")
        yield Channel(f"PUMP.{unit}{number}.Running", "Boolean", 8)
    yield from _measured("BOILER", "Steam.Press", "Drum.Level", "FO.Flow", "ExhGas.Temp")
    for tank in ("HFO.Settling", "HFO.Service", "LSMGO.Service", "LO.Sump"):
        yield from _measured(f"TANK.{tank}", "Level", "Temp")
    for number in (1, 2):
        yield from _measured(f"AIR.Compressor{number}", "Press", "Temp")
        yield Channel(f"AIR.Compressor{number}.Starts", "Integer", 2, 300, 50)
        yield Channel(f"PURIFIER.HFO{number}.State", "String", 8)
