; What a program needs of its system, on Linux for AArch64: memory that is read from standard input
; and written to standard output, and the three functions that LLVM may call on its own. SIZE is
; replaced by a number of bytes. "no-builtins" keeps loops from becoming calls of themselves.
; Numbers of system calls: Linux, include/uapi/asm-generic/unistd.h (63 read, 64 write, 93 exit).
target triple = "aarch64-unknown-linux-gnu"

@memory = internal global [SIZE x i8] zeroinitializer, align 4096

define ptr @read_memory() {
  call void @transfer(i64 63, i64 0)
  ret ptr @memory
}

define void @write_memory() {
  call void @transfer(i64 64, i64 1)
  %ignored = call i64 @system_call(i64 93, i64 0, i64 0, i64 0)
  unreachable
}

define internal void @transfer(i64 %number, i64 %file) {
entry:
  br label %round
round:
  %done = phi i64 [ 0, %entry ], [ %so_far, %round ]
  %place = getelementptr i8, ptr @memory, i64 %done
  %address = ptrtoint ptr %place to i64
  %left = sub i64 SIZE, %done
  %moved = call i64 @system_call(i64 %number, i64 %file, i64 %address, i64 %left)
  %so_far = add i64 %done, %moved
  %failed = icmp sle i64 %moved, 0
  %complete = icmp sge i64 %so_far, SIZE
  %over = or i1 %failed, %complete
  br i1 %over, label %end, label %round
end:
  ret void
}

; llvmlite has no assembler for AArch64, so these are machine words:
; mov x8, x0; mov x0, x1; mov x1, x2; mov x2, x3; svc #0; ret.
@system_call = internal constant [6 x i32] [i32 u0xAA0003E8, i32 u0xAA0103E0, i32 u0xAA0203E1, i32 u0xAA0303E2, i32 u0xD4000001, i32 u0xD65F03C0], section ".text.system_call", align 4

define ptr @memcpy(ptr %to, ptr %from, i64 %count) "no-builtins" {
  %result = call ptr @memmove(ptr %to, ptr %from, i64 %count)
  ret ptr %result
}

define ptr @memmove(ptr %to, ptr %from, i64 %count) "no-builtins" {
entry:
  %empty = icmp eq i64 %count, 0
  %last = sub i64 %count, 1
  %backward = icmp ult ptr %from, %to
  %start = select i1 %backward, i64 %last, i64 0
  %step = select i1 %backward, i64 -1, i64 1
  br i1 %empty, label %done, label %round
round:
  %at = phi i64 [ %start, %entry ], [ %next, %round ]
  %left = phi i64 [ %count, %entry ], [ %fewer, %round ]
  %source = getelementptr i8, ptr %from, i64 %at
  %place = getelementptr i8, ptr %to, i64 %at
  %byte = load i8, ptr %source
  store i8 %byte, ptr %place
  %next = add i64 %at, %step
  %fewer = sub i64 %left, 1
  %more = icmp ne i64 %fewer, 0
  br i1 %more, label %round, label %done
done:
  ret ptr %to
}

define ptr @memset(ptr %to, i32 %value, i64 %count) "no-builtins" {
entry:
  %byte = trunc i32 %value to i8
  %empty = icmp eq i64 %count, 0
  br i1 %empty, label %done, label %round
round:
  %at = phi i64 [ 0, %entry ], [ %next, %round ]
  %place = getelementptr i8, ptr %to, i64 %at
  store i8 %byte, ptr %place
  %next = add i64 %at, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %round, label %done
done:
  ret ptr %to
}
