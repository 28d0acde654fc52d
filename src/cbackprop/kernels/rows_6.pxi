# Row counts 1..6 as types: sizeof(rows) is a compile-time constant in each specialisation of the tile,
# so its loops unroll and its accumulators stay in registers.

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
    """Enter the tile of m rows in each table at [m]; [0] stays unused."""
    tiles_by_rows[0][1] = <tile_function> tile[rows1, by_rows, columns1]
    tiles_by_rows[0][2] = <tile_function> tile[rows2, by_rows, columns1]
    tiles_by_rows[0][3] = <tile_function> tile[rows3, by_rows, columns1]
    tiles_by_rows[0][4] = <tile_function> tile[rows4, by_rows, columns1]
    tiles_by_rows[0][5] = <tile_function> tile[rows5, by_rows, columns1]
    tiles_by_rows[0][6] = <tile_function> tile[rows6, by_rows, columns1]
    tiles_by_rows[1][1] = <tile_function> tile[rows1, by_rows, columns2]
    tiles_by_rows[1][2] = <tile_function> tile[rows2, by_rows, columns2]
    tiles_by_rows[1][3] = <tile_function> tile[rows3, by_rows, columns2]
    tiles_by_rows[1][4] = <tile_function> tile[rows4, by_rows, columns2]
    tiles_by_rows[1][5] = <tile_function> tile[rows5, by_rows, columns2]
    tiles_by_rows[1][6] = <tile_function> tile[rows6, by_rows, columns2]
    tiles_by_columns[0][1] = <tile_function> tile[rows1, by_columns, columns1]
    tiles_by_columns[0][2] = <tile_function> tile[rows2, by_columns, columns1]
    tiles_by_columns[0][3] = <tile_function> tile[rows3, by_columns, columns1]
    tiles_by_columns[0][4] = <tile_function> tile[rows4, by_columns, columns1]
    tiles_by_columns[0][5] = <tile_function> tile[rows5, by_columns, columns1]
    tiles_by_columns[0][6] = <tile_function> tile[rows6, by_columns, columns1]
    tiles_by_columns[1][1] = <tile_function> tile[rows1, by_columns, columns2]
    tiles_by_columns[1][2] = <tile_function> tile[rows2, by_columns, columns2]
    tiles_by_columns[1][3] = <tile_function> tile[rows3, by_columns, columns2]
    tiles_by_columns[1][4] = <tile_function> tile[rows4, by_columns, columns2]
    tiles_by_columns[1][5] = <tile_function> tile[rows5, by_columns, columns2]
    tiles_by_columns[1][6] = <tile_function> tile[rows6, by_columns, columns2]
