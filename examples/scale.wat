;; Divides the input `x` (float32, any shape) by its largest element, and gives it out as `y`.
;; Memory: names at 0, the shape from 16, the elements from 256.
(module
  (import "bcai" "input_find" (func $find (param i32 i32) (result i32)))
  (import "bcai" "input_rank" (func $rank (param i32) (result i32)))
  (import "bcai" "input_shape" (func $shape (param i32 i32)))
  (import "bcai" "input_size" (func $size (param i32) (result i32)))
  (import "bcai" "input_read" (func $read (param i32 i32)))
  (import "bcai" "output" (func $output (param i32 i32 i32 i32 i32 i32)))
  (import "bcai" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x") (data (i32.const 1) "y") (data (i32.const 2) "scaled\n")

  (func $largest (param $at i32) (param $end i32) (result f32)
    (local $found f32)
    (local.set $found (f32.const -inf))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $found (f32.max (local.get $found) (f32.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br $next)))
    (local.get $found))

  (func (export "run")
    (local $x i32) (local $at i32) (local $end i32) (local $most f32)
    (local.set $x (call $find (i32.const 0) (i32.const 1)))
    (call $shape (local.get $x) (i32.const 16))
    (call $read (local.get $x) (i32.const 256))
    (local.set $at (i32.const 256))
    (local.set $end (i32.add (i32.const 256) (call $size (local.get $x))))
    (local.set $most (call $largest (local.get $at) (local.get $end)))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (f32.store (local.get $at) (f32.div (f32.load (local.get $at)) (local.get $most)))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br $next)))
    (call $output (i32.const 1) (i32.const 1) (i32.const 1)  ;; name `y`, float32
      (call $rank (local.get $x)) (i32.const 16) (i32.const 256))
    (call $log (i32.const 1) (i32.const 2) (i32.const 7))))
