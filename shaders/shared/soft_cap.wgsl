// Soft-capping: cap·tanh(x/cap), which is close to x for small x and stays between −cap and cap.

// tanh x with a relative error of a few units in the last place. Near zero it is the odd polynomial of tanhf in
// Cephes, because 1 − 2/(e^(2x) + 1) would cancel there. The argument of exp is limited so that exp does not
// overflow.
fn tanh4(x: vec4f) -> vec4f {
  let z = abs(x);
  let square = x * x;
  var p = -5.70498872745e-3 * square + 2.06390887954e-2;
  p = p * square - 5.37397155531e-2;
  p = p * square + 1.33314422036e-1;
  p = p * square - 3.33332819422e-1;
  let near = x + x * (square * p);
  let far = sign(x) * (1 - 2 / (exp(2 * min(z, vec4f(10))) + 1));
  return select(far, near, z < vec4f(0.625));
}

fn soft_cap4(x: vec4f, cap: f32) -> vec4f {
  return cap * tanh4(x / cap);
}
