"""The procedural world: an unbounded, seeded stand-in for Sentinel-2 and ESA WorldCover.

Import order: noise <-- frame <-- terrain <-- water, settlements, fields <-- vegetation
<-- reflectance <-- landscape.
"""

from terraloom.landscape.landscape import Landscape, grow_landscape

__all__ = ["Landscape", "grow_landscape"]
