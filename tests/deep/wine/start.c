/* Of Visual C++'s start-up library what a module needs that clang-cl compiles: its entry, its thread-local variables, the
 * guard of its stack. Names and layout are the linker's and the compiler's own (Microsoft, PE Format, ".tls"). */
#include <windows.h>

int _fltused;

UINT_PTR __security_cookie = 0x2b992ddfa232;

void __security_check_cookie(UINT_PTR cookie)
{
    if (cookie != __security_cookie)
        __builtin_trap();
}

ULONG _tls_index;
#pragma section(".tls", long, read, write)
#pragma section(".tls$ZZZ", long, read, write)
#pragma section(".rdata$T", long, read)
__declspec(allocate(".tls")) char _tls_start;
__declspec(allocate(".tls$ZZZ")) char _tls_end;
static const PIMAGE_TLS_CALLBACK no_callbacks[1];
__declspec(allocate(".rdata$T")) const IMAGE_TLS_DIRECTORY64 _tls_used = {
    (ULONGLONG)&_tls_start, (ULONGLONG)&_tls_end, (ULONGLONG)&_tls_index, (ULONGLONG)no_callbacks,
};

BOOL WINAPI start(HINSTANCE module, DWORD reason, void *reserved)
{
    (void)module, (void)reason, (void)reserved;
    return TRUE;
}

/* Touch each page of a frame of rax bytes, in order, as Windows grows a stack by its next page alone. */
__attribute__((naked)) void __chkstk(void)
{
    __asm__("pushq %rcx\n"
            "pushq %rax\n"
            "leaq 24(%rsp), %rcx\n"
            "1: cmpq $0x1000, %rax\n"
            "jb 2f\n"
            "subq $0x1000, %rcx\n"
            "orq $0, (%rcx)\n"
            "subq $0x1000, %rax\n"
            "jmp 1b\n"
            "2: subq %rax, %rcx\n"
            "orq $0, (%rcx)\n"
            "popq %rax\n"
            "popq %rcx\n"
            "ret\n");
}
