# Row counts 1..14 as types: sizeof(rows) is a compile-time constant in each specialisation of the tile,
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
    """Enter the tile of m rows in each table at [m]; [0] stays unused."""
    tiles_by_rows[0][1] = <tile_function> tile[rows1, by_rows, columns1]
    tiles_by_rows[0][2] = <tile_function> tile[rows2, by_rows, columns1]
    tiles_by_rows[0][3] = <tile_function> tile[rows3, by_rows, columns1]
    tiles_by_rows[0][4] = <tile_function> tile[rows4, by_rows, columns1]
    tiles_by_rows[0][5] = <tile_function> tile[rows5, by_rows, columns1]
    tiles_by_rows[0][6] = <tile_function> tile[rows6, by_rows, columns1]
    tiles_by_rows[0][7] = <tile_function> tile[rows7, by_rows, columns1]
    tiles_by_rows[0][8] = <tile_function> tile[rows8, by_rows, columns1]
    tiles_by_rows[0][9] = <tile_function> tile[rows9, by_rows, columns1]
    tiles_by_rows[0][10] = <tile_function> tile[rows10, by_rows, columns1]
    tiles_by_rows[0][11] = <tile_function> tile[rows11, by_rows, columns1]
    tiles_by_rows[0][12] = <tile_function> tile[rows12, by_rows, columns1]
    tiles_by_rows[0][13] = <tile_function> tile[rows13, by_rows, columns1]
    tiles_by_rows[0][14] = <tile_function> tile[rows14, by_rows, columns1]
    tiles_by_rows[1][1] = <tile_function> tile[rows1, by_rows, columns2]
    tiles_by_rows[1][2] = <tile_function> tile[rows2, by_rows, columns2]
    tiles_by_rows[1][3] = <tile_function> tile[rows3, by_rows, columns2]
    tiles_by_rows[1][4] = <tile_function> tile[rows4, by_rows, columns2]
    tiles_by_rows[1][5] = <tile_function> tile[rows5, by_rows, columns2]
    tiles_by_rows[1][6] = <tile_function> tile[rows6, by_rows, columns2]
    tiles_by_rows[1][7] = <tile_function> tile[rows7, by_rows, columns2]
    tiles_by_rows[1][8] = <tile_function> tile[rows8, by_rows, columns2]
    tiles_by_rows[1][9] = <tile_function> tile[rows9, by_rows, columns2]
    tiles_by_rows[1][10] = <tile_function> tile[rows10, by_rows, columns2]
    tiles_by_rows[1][11] = <tile_function> tile[rows11, by_rows, columns2]
    tiles_by_rows[1][12] = <tile_function> tile[rows12, by_rows, columns2]
    tiles_by_rows[1][13] = <tile_function> tile[rows13, by_rows, columns2]
    tiles_by_rows[1][14] = <tile_function> tile[rows14, by_rows, columns2]
    tiles_by_columns[0][1] = <tile_function> tile[rows1, by_columns, columns1]
    tiles_by_columns[0][2] = <tile_function> tile[rows2, by_columns, columns1]
    tiles_by_columns[0][3] = <tile_function> tile[rows3, by_columns, columns1]
    tiles_by_columns[0][4] = <tile_function> tile[rows4, by_columns, columns1]
    tiles_by_columns[0][5] = <tile_function> tile[rows5, by_columns, columns1]
    tiles_by_columns[0][6] = <tile_function> tile[rows6, by_columns, columns1]
    tiles_by_columns[0][7] = <tile_function> tile[rows7, by_columns, columns1]
    tiles_by_columns[0][8] = <tile_function> tile[rows8, by_columns, columns1]
    tiles_by_columns[0][9] = <tile_function> tile[rows9, by_columns, columns1]
    tiles_by_columns[0][10] = <tile_function> tile[rows10, by_columns, columns1]
    tiles_by_columns[0][11] = <tile_function> tile[rows11, by_columns, columns1]
    tiles_by_columns[0][12] = <tile_function> tile[rows12, by_columns, columns1]
    tiles_by_columns[0][13] = <tile_function> tile[rows13, by_columns, columns1]
    tiles_by_columns[0][14] = <tile_function> tile[rows14, by_columns, columns1]
    tiles_by_columns[1][1] = <tile_function> tile[rows1, by_columns, columns2]
    tiles_by_columns[1][2] = <tile_function> tile[rows2, by_columns, columns2]
    tiles_by_columns[1][3] = <tile_function> tile[rows3, by_columns, columns2]
    tiles_by_columns[1][4] = <tile_function> tile[rows4, by_columns, columns2]
    tiles_by_columns[1][5] = <tile_function> tile[rows5, by_columns, columns2]
    tiles_by_columns[1][6] = <tile_function> tile[rows6, by_columns, columns2]
    tiles_by_columns[1][7] = <tile_function> tile[rows7, by_columns, columns2]
    tiles_by_columns[1][8] = <tile_function> tile[rows8, by_columns, columns2]
    tiles_by_columns[1][9] = <tile_function> tile[rows9, by_columns, columns2]
    tiles_by_columns[1][10] = <tile_function> tile[rows10, by_columns, columns2]
    tiles_by_columns[1][11] = <tile_function> tile[rows11, by_columns, columns2]
    tiles_by_columns[1][12] = <tile_function> tile[rows12, by_columns, columns2]
    tiles_by_columns[1][13] = <tile_function> tile[rows13, by_columns, columns2]
    tiles_by_columns[1][14] = <tile_function> tile[rows14, by_columns, columns2]
