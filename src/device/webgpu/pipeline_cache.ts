/**
 * A cache of compiled kernels. The bind group layouts are derived from the kernels' declarations. WebGPU could derive
 * them from the shaders (`layout: "auto"`). But it would leave out bindings that an entry point does not use, and the
 * bind groups would no longer match the layouts.
 */

import type { BindingAccess, Kernel, ShaderVariant } from "../kernels/kernel.ts";
import type { DeviceFaults } from "./device_faults.ts";
import { chooseShader, possibleShaders, type Tiling, type Tuning } from "./tuning.ts";

/**
 * The size of the parameters of one dispatch in the uniform buffer, in bytes. It is the alignment that WebGPU requires
 * of dynamic offsets, and it has room for 64 parameters.
 */
export const PARAMS_BYTES = 256;

/** The WebGPU layouts of a list of bindings. Kernels whose bindings have the same accesses share one layout. */
export interface BindingLayout {
  /** The accesses in binding order, such as `read read_write`. */
  readonly key: string;
  readonly accesses: readonly BindingAccess[];
  readonly bindGroupLayout: GPUBindGroupLayout;
  readonly pipelineLayout: GPUPipelineLayout;
}

/** A kernel with the objects that a dispatch of it needs. */
export interface CompiledKernel {
  readonly shader: ShaderVariant;
  readonly layout: BindingLayout;
  readonly pipeline: GPUComputePipeline;
  /** The error of the compiler. It is set only when the compiler has finished, some time after the object exists. */
  compileError?: Error;
  /** Resolves when the compiler has accepted or rejected the kernel. */
  readonly compiled: Promise<void>;
}

export class PipelineCache {
  readonly #workgroupBytes: number;
  /** The compiled kernels by their shaders. */
  readonly #compiled = new Map<ShaderVariant, CompiledKernel>();
  readonly #warmUps = new Map<ShaderVariant, Promise<void>>();
  readonly #modules = new Map<string, GPUShaderModule>();
  readonly #layouts = new Map<string, BindingLayout>();

  constructor(
    private readonly device: GPUDevice,
    private readonly faults: DeviceFaults,
    private readonly tiling: Tiling,
    private readonly tuning: Tuning = {},
  ) {
    this.#workgroupBytes = device.limits.maxComputeWorkgroupStorageSize;
  }

  /**
   * Returns the compiled kernel for a dispatch with the parameters `params`, and compiles it on its first use. WebGPU
   * reports a compile error later. The error then fails the next wait for the device and every later call of `get`.
   * @throws {Error} with the kernel's name and the compiler's message and source line, if it has rejected the kernel
   */
  get(kernel: Kernel, params: Readonly<Record<string, number>>): CompiledKernel {
    return this.#get(kernel, chooseShader(kernel, this.tiling, this.tuning, params, this.#workgroupBytes));
  }

  /** Returns the kernel with each shader that its dispatches can use. @throws the same errors as {@link get} */
  all(kernel: Kernel): CompiledKernel[] {
    return possibleShaders(kernel, this.tiling, this.tuning, this.#workgroupBytes).map((shader) =>
      this.#get(kernel, shader)
    );
  }

  #get(kernel: Kernel, shader: ShaderVariant): CompiledKernel {
    let compiled = this.#compiled.get(shader);
    if (!compiled) {
      compiled = this.#compile(kernel, shader);
      this.#compiled.set(shader, compiled);
    }
    if (compiled.compileError) throw compiled.compileError;
    return compiled;
  }

  /**
   * Compiles kernels before their first use, concurrently if the WebGPU implementation can.
   * @throws {Error} the error of the first kernel that does not compile, as in {@link get}
   */
  async warm(kernels: readonly Kernel[]): Promise<void> {
    await Promise.all(
      kernels.flatMap((kernel) =>
        possibleShaders(kernel, this.tiling, this.tuning, this.#workgroupBytes).map((shader) => {
          let warmUp = this.#warmUps.get(shader);
          if (!warmUp) this.#warmUps.set(shader, warmUp = this.#compileAsync(kernel, shader));
          return warmUp;
        })
      ),
    );
    for (const kernel of kernels) {
      for (const { compiled } of this.all(kernel)) await this.faults.settle(compiled);
    }
  }

  #compile(kernel: Kernel, shader: ShaderVariant): CompiledKernel {
    this.device.pushErrorScope("validation");
    const { layout, descriptor } = this.#describe(kernel, shader);
    const pipeline = this.device.createComputePipeline(descriptor);
    const scope = this.faults.closeScope(this.device, (error) => describeCompileError(kernel, error));
    const compiled: CompiledKernel = {
      shader,
      layout,
      pipeline,
      compiled: scope.then((error) => {
        if (!error) return;
        compiled.compileError = error;
        // Another kernel of the same source then compiles the module again, so that its error has the source line too.
        this.#modules.delete(shader.code);
      }, () => {}), // The scope rejects if the device is lost, which `settle` reports.
    };
    return compiled;
  }

  /** Compiles a kernel without blocking. If that fails, {@link get} compiles it again and reports the error. */
  async #compileAsync(kernel: Kernel, shader: ShaderVariant): Promise<void> {
    if (this.#compiled.has(shader)) return;
    this.device.pushErrorScope("validation");
    const { layout, descriptor } = this.#describe(kernel, shader);
    const module = this.device.popErrorScope().catch(() => null);
    const pipeline = this.device.createComputePipelineAsync(descriptor).catch(() => undefined);
    if (await module || !await pipeline) this.#modules.delete(shader.code);
    else if (!this.#compiled.has(shader)) {
      this.#compiled.set(shader, {
        shader,
        layout,
        pipeline: (await pipeline)!,
        compiled: Promise.resolve(),
      });
    }
  }

  #describe(kernel: Kernel, shader: ShaderVariant) {
    const layout = this.#layout(Object.values(kernel.bindings));
    const descriptor: GPUComputePipelineDescriptor = {
      label: kernel.name,
      layout: layout.pipelineLayout,
      compute: {
        module: this.#module(kernel, shader),
        entryPoint: shader.entryPoint ?? kernel.name,
        constants: shader.constants,
      },
    };
    return { layout, descriptor };
  }

  #module(kernel: Kernel, { code }: ShaderVariant): GPUShaderModule {
    let module = this.#modules.get(code);
    if (!module) {
      module = this.device.createShaderModule({ label: kernel.name, code });
      this.#modules.set(code, module);
    }
    return module;
  }

  #layout(accesses: readonly BindingAccess[]): BindingLayout {
    const key = accesses.join(" ");
    let layout = this.#layouts.get(key);
    if (!layout) {
      const entries: GPUBindGroupLayoutEntry[] = accesses.map((access, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: access === "read" ? "read-only-storage" : "storage" },
      }));
      entries.push({
        binding: accesses.length,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: "uniform", hasDynamicOffset: true, minBindingSize: PARAMS_BYTES },
      });
      const bindGroupLayout = this.device.createBindGroupLayout({ label: key, entries });
      const pipelineLayout = this.device.createPipelineLayout({
        label: key,
        bindGroupLayouts: [bindGroupLayout],
      });
      layout = { key, accesses, bindGroupLayout, pipelineLayout };
      this.#layouts.set(key, layout);
    }
    return layout;
  }
}

function describeCompileError(kernel: Kernel, { message }: GPUError): Error {
  return new Error(`kernel ${kernel.name} does not compile: ${message.trim()}`);
}

/** The size of the placeholder buffers in bytes. Any shader takes it, because its arrays have no fixed size. */
const BINDING_BYTES = 256;

/** The size of the grid of an indirect dispatch in bytes: the numbers of workgroups along x, y and z. */
const GRID_BYTES = 12;

/** Submits a dispatch of no workgroups for each kernel. @param params the uniform buffer */
export function warmUpPipelines(
  device: GPUDevice,
  kernels: readonly CompiledKernel[],
  params: GPUBuffer,
): void {
  const scratch: GPUBuffer[] = [];
  // One buffer per binding, because a buffer that a kernel writes can be bound only once in a dispatch.
  const buffer = (binding: number) =>
    scratch[binding] ??= device.createBuffer({
      label: "warm-up",
      size: BINDING_BYTES,
      usage: GPUBufferUsage.STORAGE,
    });
  // New buffers contain zeros.
  const noWorkgroups = device.createBuffer({ size: GRID_BYTES, usage: GPUBufferUsage.INDIRECT });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (const { layout, pipeline } of kernels) {
    const entries: GPUBindGroupEntry[] = layout.accesses.map((_, binding) => ({
      binding,
      resource: { buffer: buffer(binding) },
    }));
    entries.push({ binding: entries.length, resource: { buffer: params, size: PARAMS_BYTES } });
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: layout.bindGroupLayout, entries }), [0]);
    pass.dispatchWorkgroupsIndirect(noWorkgroups, 0);
  }
  pass.end();
  device.queue.submit([encoder.finish()]);
  for (const unused of [...scratch, noWorkgroups]) unused.destroy();
}
