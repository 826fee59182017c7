"""The forms of each instruction that the interpreter knows: any other is refused, not half understood.

A modifier that nobody looks at would be counted and computed as if it were not there. So what a form may hold
is listed word by word; what is new in a later kernel or compiler is added here together with its meaning.
"""

import re

from edgeosr.kernels.counting.listing import Instruction
from edgeosr.kernels.counting.operands import NotModelledError

_RELATIONS = "EQ NE LT LE GT GE AND OR XOR"
_MOVES = "MOV SHL IADD U32"
_KNOWN = {
    # Memory. Sizes: U16, none, 64, 128; what is read with a sign or in bytes is not here.
    "LDG": "E 64 128 U16 CONSTANT STRONG GPU SYS",
    "STG": "E 64 128 U16 STRONG GPU SYS",
    "LDS": "U 64 128 U16",
    "STS": "64 128 U16",
    "LDGSTS": "E BYPASS 64 128 LTC128B",
    "ATOMG": "E INC STRONG GPU",
    "CCTL": "E PF2 IVALL",
    "LDC": "64",
    "LDCU": "64 128",
    "ULDC": "64",
    # Integers, moves.
    "MOV": "",
    "UMOV": "",
    "R2UR": "BROADCAST",
    "CS2R": "32",
    "S2R": "",
    "S2UR": "",
    "IADD3": "X",
    "UIADD3": "X 64",
    "VIADD": "",
    "IADD": "X",
    "IMAD": f"{_MOVES} X WIDE HI",
    "UIMAD": f"{_MOVES} WIDE",
    "LEA": "HI X SX32",
    "ULEA": "HI X SX32",
    "ISETP": f"{_RELATIONS} U32 EX",
    "UISETP": f"{_RELATIONS} U32 EX",
    "SEL": "",
    "USEL": "",
    "IMNMX": "U32",
    "UIMNMX": "U32",
    "VIMNMX": "U32 RELU",
    "VIADDMNMX": "U32 RELU",
    "IABS": "",
    "SHF": "L R W U32 S32 U64 HI",
    "USHF": "L R W U32 S32 U64 HI",
    "LOP3": "LUT",
    "ULOP3": "LUT",
    "PLOP3": "LUT",
    "UPLOP3": "LUT",
    "POPC": "",
    "UPOPC": "",
    "FLO": "U32",
    "UFLO": "U32",
    "PRMT": "",
    "UPRMT": "",
    "P2R": "",
    "R2P": "",
    # Floats.
    "FADD": "FTZ RM RP RZ SAT",
    "FMUL": "FTZ RM RP RZ SAT",
    "FFMA": "FTZ RM RP RZ SAT",
    "MUFU": "RCP RSQ SQRT EX2 LG2 TANH",
    "FSETP": "EQ NE LT LE GT GE EQU NEU LTU LEU GTU GEU NAN NUM FTZ AND OR XOR",
    "FSET": "BF EQ NE LT LE GT GE EQU NEU LTU LEU GTU GEU NAN NUM FTZ AND OR XOR",
    "FSEL": "",
    "FMNMX": "NAN",
    "FCHK": "DIVIDE",
    "I2F": "U16 S16 U32 RM RP RZ",
    "I2FP": "F32 S32 U32 RM RP RZ",
    "F2I": "FTZ U32 TRUNC NTZ",
    "F2F": "F16 F32",
    "F2FP": "F16 F32 PACK_AB",
    "HADD2": "F32",
    "HMUL2": "",
    "HSET2": "BF GT GE AND",
    "HSETP2": "GT AND",
    "HFMA2": "MMA",
    "HMMA": "16816 1688 F32",
    # Lanes, control, waits.
    "SHFL": "BFLY IDX",
    "VOTE": "ANY ALL",
    "VOTEU": "ANY ALL",
    "REDUX": "MAX",
    "BRA": "U ANY DIV CONV",
    "BRX": "",
    "BRXU": "",
    "CALL": "REL NOINC",
    "RET": "REL NODEC",
    "EXIT": "",
    "BSSY": "RECONVERGENT RELIABLE",
    "BSYNC": "RECONVERGENT RELIABLE",
    "BREAK": "RELIABLE",
    "BMOV": "32 CLEAR",
    "WARPSYNC": "ALL COLLECTIVE",
    "BAR": "SYNC DEFER_BLOCKING",
    "NOP": "",
    "YIELD": "",
    "ERRBAR": "",
    "CGAERRBAR": "",
    "MEMBAR": "SC ALL GPU CTA",
    "FENCE": "VIEW ASYNC S",
    "LDGDEPBAR": "",
    "DEPBAR": "LE",
    # Clusters. Which of its words go together: clusters.py.
    "STAS": "",
    "UBLKCP": "S G",
    "ELECT": "",
    "SYNCS": "EXCH 64 ARRIVE TRANS64 PHASECHK TRYWAIT CCTL IVALL",
    "UCGABAR_ARV": "",
    "UCGABAR_WAIT": "",
}
KNOWN = {opcode: frozenset(words.split()) for opcode, words in _KNOWN.items()}
# Where %is_explicit_cluster lies in bank 0, on sm_100 and sm_120 too where sm_110 has it: 1 if the host asked
# for clusters. Else 0, and the code that the compiler makes for the cluster's barrier takes the block's.
CLUSTERED_AT = {"sm_90": 0x140, "sm_110": 0x36C}
# What every kernel reads in constant bank 0 before its parameters: the stack's end, which no entry of ours
# uses, and the descriptor of global memory, which read as 0; and CLUSTERED_AT. Not there: the shape of block
# and grid.
SYSTEM = {
    "sm_87": frozenset((0x28, 0x118)),
    "sm_89": frozenset((0x28, 0x118)),
    "sm_90": frozenset((0x28, 0x208, 0x140)),
    "sm_110": frozenset((0x358, 0x37C, 0x36C)),
}
_GROUP = re.compile(
    r"0x[1-9a-f], 0x(?:[1-9a-f][02468ace]|[2468ace])0"
)  # a barrier's number, and threads: whole warps
_CONSTANT = re.compile(r"c\[0x0\]\[0x([0-9a-f]+)\]")


def require_known(instruction: Instruction, parameters_at: int, system: frozenset[int]) -> None:
    """Refuse an instruction with a word or an operand that the interpreter would pass over.

    Args:
        instruction: the instruction.
        parameters_at: where the parameters begin in constant bank 0.
        system: what may be read before them.

    Raises:
        NotModelledError: it has one; the message names it.
    """
    base, operands = instruction.base, instruction.operands
    words = instruction.opcode.split(".")[1:]
    strange = [word for word in words if word not in KNOWN.get(base, frozenset())]
    if base not in KNOWN or strange:
        raise NotModelledError(f"the form {instruction.opcode} is not modelled")
    if base == "BAR" and operands != ("0x0",) and not _GROUP.fullmatch(", ".join(operands)):
        raise NotModelledError(
            "of barriers only number 0 of all threads, and 1 to 15 of some: no other is modelled"
        )
    if base == "DEPBAR" and operands and (len(operands) != 2 or operands[1] not in ("0x0", "0x1")):
        raise NotModelledError("at most one group of copies may be under way")
    for text in operands:
        for at in (int(found, 16) for found in _CONSTANT.findall(text)):
            if at < parameters_at and at not in system:
                raise NotModelledError(f"the constant at {at:#x}, before the parameters, is not laid out")
