# Row counts 1..6 as types: sizeof(rows) is a compile-time constant in each specialisation of the tile,
# so its loops unroll and its accumulators stay in registers: 6 rows of two vectors, where a level has 16 registers.

cdef enum:
    TILE_ROWS = 6

cdef struct rows1:
    char count[1]
cdef struct rows2:
    char count[2]
cdef struct rows3:
    char count[3]
cdef struct rows4:
    char count[4]
cdef struct rows5:
    char count[5]
cdef struct rows6:
    char count[6]

ctypedef fused rows:
    rows1
    rows2
    rows3
    rows4
    rows5
    rows6


cdef void initialise_tiles() noexcept nogil:
    """Enter the tiles of every row count in the tables."""
    enter_tile[rows1](NULL)
    enter_tile[rows2](NULL)
    enter_tile[rows3](NULL)
    enter_tile[rows4](NULL)
    enter_tile[rows5](NULL)
    enter_tile[rows6](NULL)
