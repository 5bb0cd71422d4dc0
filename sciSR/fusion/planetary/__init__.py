"""Lucky imaging: planets, the Moon and the Sun through a turbulent atmosphere.

The sharpest frames of a clip are kept, aligned as a whole and then by a smooth local warp each.
"""
