"""Headers as blocks of bytes, with checksums, and with room to grow."""

from __future__ import annotations

from typing import Any

from scisr_astronomy import checksum
from scisr_astronomy.preflight import BLOCK, CARD

_ZEROS = "0" * 16


def block_padding(size: int, fill: bytes = b"\0") -> bytes:
    """What fills `size` bytes up to whole blocks."""
    return fill * (-size % BLOCK)


def header_blocks(header: Any, *, spare: int = 0) -> int:
    """Blocks that `header` takes with its checksums, END, and `spare` more cards."""
    cards = len(_with_checksum_cards(header, 0).tostring(sep="", endcard=False, padding=False)) // CARD
    return -(-(cards + 1 + spare) // (BLOCK // CARD))


def header_bytes(header: Any, data_sum: int, *, blocks: int | None = None) -> bytes:
    """The header's blocks with DATASUM and CHECKSUM filled in.

    Parameters
    ----------
    header : astropy.io.fits.Header
    data_sum : int
        Ones' complement sum of the data unit.
    blocks : int, optional
        Write exactly so many blocks; unused ones hold blank cards, and END stands in the last.
    """
    text = _with_checksum_cards(header, data_sum).tostring(sep="", endcard=False, padding=False)
    needed = -(-(len(text) + CARD) // BLOCK)
    blocks = needed if blocks is None else blocks
    if needed > blocks:
        raise ValueError(f"the header needs {needed} blocks, {blocks} were kept for it")
    text = text.ljust((blocks - 1) * BLOCK)
    raw = (text + "END").ljust(blocks * BLOCK).encode("ascii")
    value = checksum.encode(checksum.add_to_sum(raw, data_sum))
    at = raw.index(f"CHECKSUM= '{_ZEROS}'".encode()) + len("CHECKSUM= '")
    return raw[:at] + value.encode("ascii") + raw[at + 16 :]


def corrected_sums(raw: bytes, data_sum: int) -> bytes:
    """Header blocks of a copied HDU whose CHECKSUM or DATASUM were wrong, with right ones; nothing else changes."""
    cards = [raw[at : at + CARD] for at in range(0, len(raw), CARD)]
    place = None
    for number, card in enumerate(cards):
        if card.startswith(b"DATASUM ="):
            cards[number] = f"DATASUM = '{data_sum:<8}'".ljust(30).encode("ascii").ljust(CARD)
        elif card.startswith(b"CHECKSUM="):
            cards[number] = f"CHECKSUM= '{_ZEROS}'".encode("ascii").ljust(CARD)
            place = number * CARD + len("CHECKSUM= '")
    out = b"".join(cards)
    if place is None:
        return out
    value = checksum.encode(checksum.add_to_sum(out, data_sum))
    return out[:place] + value.encode("ascii") + out[place + 16 :]


def _with_checksum_cards(header: Any, data_sum: int) -> Any:
    header = header.copy()
    for keyword in ("CHECKSUM", "DATASUM"):
        header.remove(keyword, ignore_missing=True, remove_all=True)
    header["CHECKSUM"] = (_ZEROS, "HDU checksum")
    header["DATASUM"] = (str(data_sum), "data unit checksum")
    return header
