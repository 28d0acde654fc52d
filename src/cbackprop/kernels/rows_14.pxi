# Row counts 1..14 as types: sizeof(rows) is a compile-time constant in each specialisation of the tile,
# so its loops unroll and its accumulators stay in registers: 14 rows of two vectors, where a level has 32 registers.

cdef enum:
    TILE_ROWS = 14

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
cdef struct rows7:
    char count[7]
cdef struct rows8:
    char count[8]
cdef struct rows9:
    char count[9]
cdef struct rows10:
    char count[10]
cdef struct rows11:
    char count[11]
cdef struct rows12:
    char count[12]
cdef struct rows13:
    char count[13]
cdef struct rows14:
    char count[14]

ctypedef fused rows:
    rows1
    rows2
    rows3
    rows4
    rows5
    rows6
    rows7
    rows8
    rows9
    rows10
    rows11
    rows12
    rows13
    rows14


cdef void initialise_tiles() noexcept nogil:
    """Enter the tiles of every row count in the tables."""
    enter_tile[rows1](NULL)
    enter_tile[rows2](NULL)
    enter_tile[rows3](NULL)
    enter_tile[rows4](NULL)
    enter_tile[rows5](NULL)
    enter_tile[rows6](NULL)
    enter_tile[rows7](NULL)
    enter_tile[rows8](NULL)
    enter_tile[rows9](NULL)
    enter_tile[rows10](NULL)
    enter_tile[rows11](NULL)
    enter_tile[rows12](NULL)
    enter_tile[rows13](NULL)
    enter_tile[rows14](NULL)
