"""Words for TCP's numbers: states and header flags (BCC's ``bcc.tcp``).

Source: include/net/tcp_states.h and include/net/tcp.h of Linux 6.18.
"""

from __future__ import annotations

tcpstate = {
    1: "ESTABLISHED",
    2: "SYN_SENT",
    3: "SYN_RECV",
    4: "FIN_WAIT1",
    5: "FIN_WAIT2",
    6: "TIME_WAIT",
    7: "CLOSE",
    8: "CLOSE_WAIT",
    9: "LAST_ACK",
    10: "LISTEN",
    11: "CLOSING",
    12: "NEW_SYN_RECV",
}

TCPHDR_FIN = 0x01
TCPHDR_SYN = 0x02
TCPHDR_RST = 0x04
TCPHDR_PSH = 0x08
TCPHDR_ACK = 0x10
TCPHDR_URG = 0x20
TCPHDR_ECE = 0x40
TCPHDR_CWR = 0x80

_FLAGS = {
    "FIN": TCPHDR_FIN,
    "SYN": TCPHDR_SYN,
    "RST": TCPHDR_RST,
    "PSH": TCPHDR_PSH,
    "ACK": TCPHDR_ACK,
    "URG": TCPHDR_URG,
    "ECE": TCPHDR_ECE,
    "CWR": TCPHDR_CWR,
}


def flags2str(flags: int) -> str:
    """``SYN|ACK`` for 0x12."""
    return "|".join(name for name, bit in _FLAGS.items() if flags & bit)


def state2str(state: int) -> str:
    """``ESTABLISHED`` for 1, UNKNOWN for what is no state."""
    return tcpstate.get(state, "UNKNOWN")
