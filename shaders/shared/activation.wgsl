// The activation functions of linear layers.

// Values of the `activation` parameter, as in ACTIVATION_CODE of src/device/kernels/forward/activate.ts. Any other
// value means the identity.
const RELU: u32 = 1;
const GELU_TANH: u32 = 2;
const GELU: u32 = 3;
const SILU: u32 = 4;
const SIGMOID: u32 = 5;
const RELU2: u32 = 6;

// x·σ(z), where σ is the logistic function. The argument of exp is limited to 87 so that exp does not
// overflow, because WGSL does not guarantee that infinity behaves as in IEEE 754.
fn times_sigmoid(x: f32, z: f32) -> f32 {
  return x / (1 + exp(min(-z, 87)));
}

// The polynomial p(z) in formula 7.1.26 of Abramowitz and Stegun, by which erfc(z) is p(z)·exp(−z²) for z ≥ 0 with an
// absolute error of at most 1.5e-7. erfc is 1 minus the error function.
fn erfc_polynomial(z: f32) -> f32 {
  let t = 1 / (1 + 0.3275911 * z);
  return t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
}

// x·Φ(x), where Φ(x) = erfc(−x/√2)/2 is the distribution function of the standard normal distribution.
fn gelu(x: f32) -> f32 {
  let z = min(abs(x) * 0.70710678, 9.0);
  let tail = 0.5 * x * erfc_polynomial(z) * exp(-z * z);
  return select(tail, x - tail, x >= 0);
}

fn activation(x: f32, code: u32) -> f32 {
  switch code {
    case RELU: {
      return max(x, 0);
    }
    case GELU_TANH: {
      // The published formula is x·(1 + tanh u)/2, which equals x·σ(2u). Computing σ avoids the cancellation
      // in 1 + tanh u.
      return times_sigmoid(x, 1.5957691216 * (x + 0.044715 * x * x * x));
    }
    case GELU: {
      return gelu(x);
    }
    case SILU: {
      return times_sigmoid(x, x);
    }
    case SIGMOID: {
      return times_sigmoid(1, x);
    }
    case RELU2: {
      return max(x, 0) * max(x, 0);
    }
    default: {
      return x;
    }
  }
}
