/**
 * Chooses, opens and checks the backend of a host. Every backend that a host, `pare eval` or `pare prune` uses comes
 * from here, so a device that computes wrong results is refused everywhere. The products of the `cpu` backend are the
 * code that multiplies its matrices: Pare's own WebAssembly, or a library (`device/cpu/products/`).
 */

import { type Adapter, type Backend, describeRounding } from "../device/backend.ts";
import { connectBackend } from "../device/remote_backend.ts";
import { createCpuBackend } from "../device/cpu/backend.ts";
import { adapterName } from "../device/cpu/instruction_pairing.ts";
import { findProducts, LIBRARY_HINT, type ProductsChoice } from "../device/cpu/products/find_products.ts";
import { type Precision, PRECISIONS, type ProductLibrary } from "../device/cpu/products/product_library.ts";
import { selfCheck, SelfCheckError } from "./self_check/self_check.ts";
import { describeAdapter, hasHardwareAdapter, requestAdapter } from "../device/webgpu/device.ts";
import { DEFAULT_RUNTIME, WEBGPU_RUNTIMES, type WebGpuRuntime } from "../device/webgpu/runtimes/runtime.ts";
import type { LogEntry } from "./metrics.ts";

export {
  DEFAULT_RUNTIME,
  type Precision,
  PRECISIONS,
  type ProductsChoice,
  WEBGPU_RUNTIMES,
  type WebGpuRuntime,
};

/** The values of the command-line option `--backend` and of the variable `PARE_BACKEND`. */
export const BACKEND_CHOICES = ["auto", "webgpu", "cpu"] as const;

/** The requested backend. `auto` is WebGPU if the machine has a hardware GPU, else the CPU. */
export type BackendChoice = (typeof BACKEND_CHOICES)[number];

/** Parses `PARE_REQUIRE_GPU`, which is 1 if the host must have a GPU. @throws {RangeError} unless it is 0, 1 or not set */
export function parseRequireGpu(text = "0"): boolean {
  if (text !== "0" && text !== "1") throw new RangeError(`PARE_REQUIRE_GPU ${text}: must be 0 or 1`);
  return text === "1";
}

/** The functions that find and open a backend. Tests replace them. */
export interface BackendOpeners {
  readonly hasHardwareAdapter: (runtime: WebGpuRuntime) => Promise<boolean>;
  readonly findAdapter: (runtime: WebGpuRuntime) => Promise<Adapter>;
  readonly webgpu: (runtime: WebGpuRuntime) => Promise<Backend>;
  readonly cpu: (library?: ProductLibrary) => Promise<Backend>;
  readonly findProducts: typeof findProducts;
}

const OPENERS: BackendOpeners = {
  hasHardwareAdapter,
  findAdapter: async (runtime) => describeAdapter(await requestAdapter(false, runtime)),
  webgpu: openWebGpu,
  cpu: (library) => createCpuBackend({ library }),
  findProducts,
};

/** The libraries that a backend uses. */
export interface BackendLibraries {
  /**
   * The products of the backend `cpu`.
   * @default "own", so that a program computes the same bits on every machine
   */
  readonly products?: ProductsChoice;
  /**
   * The format to which the backend `cpu` rounds the operands of the forward pass and of the statistics.
   * @default "bfloat16" if `storesBfloat16` is set and the processor has instructions for bfloat16, else "float32"
   */
  readonly precision?: Precision;
  /**
   * The implementation of WebGPU if the backend is `webgpu`.
   * @default DEFAULT_RUNTIME
   */
  readonly webgpu?: WebGpuRuntime;
}

/** Options of {@link selectBackend}. */
export interface SelectOptions extends BackendLibraries {
  /** Whether the checkpoint has bfloat16 weights, so that rounding changes only the activations. @default false */
  readonly storesBfloat16?: boolean;
  /** Whether devices that are not GPUs are refused, such as an adapter that the CPU emulates. @default false */
  readonly requireGpu?: boolean;
  /**
   * The description (`describeRounding`) of the backend with which an unfinished run began. With the products `auto`,
   * the same products are used again.
   */
  readonly recorded?: string;
  /**
   * Called with the products that the choice `auto` has made, and if the choice `auto` refuses the GPU or a library.
   * @default a function that does nothing
   */
  readonly log?: (entry: LogEntry) => void;
  readonly openers?: BackendOpeners;
}

/**
 * Opens a backend that never blocks the event loop of the caller, and checks that its kernels compute right results.
 * With the choice `auto`, a GPU that fails the check is replaced by the CPU, and so is a machine's emulated GPU, which is
 * slower than the CPU. With the products `auto`, a library with which the CPU fails the check is not used.
 * @throws {NoAdapterError} if `webgpu` is requested and there is no adapter
 * @throws {Error} naming the device, if a GPU is required and the device is none
 * @throws {Error} if the requested products are not available, or the implementation of WebGPU is not
 * @throws {SelfCheckError} if the requested backend computes wrong results. The message names a library given by path
 */
export async function selectBackend(choice: BackendChoice, options: SelectOptions = {}): Promise<Backend> {
  const { webgpu = DEFAULT_RUNTIME, requireGpu = false, log = () => {}, openers = OPENERS } = options;
  const openCpu = () => openCheckedCpu({ ...options, log, openers });
  if (requireGpu) return await openRequiredGpu(choice, webgpu, openers);
  if (choice === "cpu") return await openCpu();
  const openGpu = () => openers.webgpu(webgpu);
  if (choice === "webgpu") return await openChecked(openGpu);
  if (await openers.hasHardwareAdapter(webgpu)) {
    try {
      return await openChecked(openGpu);
    } catch (error) {
      if (!(error instanceof SelfCheckError)) throw error;
      log({ event: "device refused", reason: error.message, instead: "cpu" });
    }
  }
  return await openCpu();
}

/** Opens a GPU. @throws {Error} if the choice is the CPU, or if the adapter is emulated on the CPU */
async function openRequiredGpu(
  choice: BackendChoice,
  runtime: WebGpuRuntime,
  openers: BackendOpeners,
): Promise<Backend> {
  if (choice === "cpu") throw new Error("a GPU is required, but the backend cpu was chosen");
  const { name, software } = await openers.findAdapter(runtime);
  if (software) throw new Error(`a GPU is required, but the adapter ${name} is emulated on the CPU`);
  return await openChecked(() => openers.webgpu(runtime));
}

/** Opens the backend `cpu` with the first permitted products that pass the self-check. */
async function openCheckedCpu(
  options: SelectOptions & Required<Pick<SelectOptions, "log" | "openers">>,
): Promise<Backend> {
  const { products = "own", log, openers } = options;
  const permitted = permittedProducts(options);
  const names = permitted.map((library) => library?.name ?? OWN_PRODUCTS);
  for (const [i, library] of permitted.entries()) {
    try {
      const backend = await openChecked(() => openers.cpu(library));
      if (products === "auto") {
        log({ event: "products", products: names[i], reason: reasonFor(permitted, i, options) });
      }
      return backend;
    } catch (error) {
      if (!(error instanceof SelfCheckError) || library === undefined) throw error;
      if (products !== "auto") {
        throw new SelfCheckError(`library ${products}: ${error.message}`, error.kernels);
      }
      if (i === permitted.length - 1) throw error;
      log({ event: "device refused", reason: error.message, instead: `cpu with ${names[i + 1]}` });
    }
  }
  throw new Error("there are no products to choose from");
}

const OWN_PRODUCTS = "own kernels in float32";
const NO_LIBRARY = ["no library is installed", LIBRARY_HINT].filter((text) => text !== undefined).join(". ");

/**
 * Lists the products that the options permit in the order of preference, undefined for Pare's own. If an
 * unfinished run began with one of them, only this one is permitted.
 */
function permittedProducts(
  { products = "own", precision, storesBfloat16 = false, recorded = "", openers = OPENERS }: SelectOptions,
): (ProductLibrary | undefined)[] {
  const isResumed = recorded.startsWith("cpu ");
  const precisions = precision ? [precision] : storesBfloat16 || isResumed ? PRECISIONS : [PRECISIONS[0]];
  const permitted = openers.findProducts({ products, precisions });
  const same = permitted.filter((library) => describeProducts(library) === recorded);
  if (same.length > 0) return same;
  // If the options ask for other products, the check of the run's fingerprint reports the difference.
  if (!isResumed || products !== "auto" || precision) return permitted;
  throw new Error(`the run began with ${recorded}, which this machine does not have`);
}

/** Returns what a run that uses the library records about its backend. */
function describeProducts(library?: ProductLibrary): string {
  return describeRounding({ backend: "cpu", adapter: adapterName(0, library?.name) });
}

/** Says why the products at `index` are used. */
function reasonFor(
  permitted: readonly (ProductLibrary | undefined)[],
  index: number,
  { recorded }: SelectOptions,
): string {
  if (describeProducts(permitted[index]) === recorded) return "the run began with them";
  if (permitted[index]) return "installed libraries come before Pare's own kernels";
  return index > 0 ? "no library that was found passes the self-check" : NO_LIBRARY;
}

/** Opens a backend and runs the self-check on it. A backend that fails the check is closed. */
async function openChecked(open: () => Promise<Backend>): Promise<Backend> {
  const backend = await open(), start = performance.now();
  try {
    await selfCheck(backend);
  } catch (error) {
    await backend.dispose();
    throw error;
  }
  backend.selfCheck = { seconds: (performance.now() - start) / 1000 };
  return backend;
}

async function openWebGpu(runtime: WebGpuRuntime): Promise<Backend> {
  // The adapter is requested in this thread too, because a NoAdapterError from the worker would lose its class.
  await requestAdapter(false, runtime);
  return await connectBackend(
    new Worker(new URL("../device/webgpu/worker.ts", import.meta.url), { type: "module", name: runtime }),
  );
}
