/**
 * Compiles each kernel once. Bind group layouts come from the kernel's declaration and not from the shader, because
 * `layout: "auto"` drops bindings that the entry point does not use, and the bind group then no longer fits.
 */

import type { Access, Kernel, ShaderVariant } from "../kernels/kernel.ts";
import type { DeviceFaults } from "./device_faults.ts";
import { chooseShader, type Tiling, type Tuning } from "./tuning.ts";

/** Bytes of the uniform block of one dispatch. They hold 64 parameters, and 256 is WebGPU's alignment of dynamic offsets. */
export const PARAMS_BYTES = 256;

/** The layout for one sequence of access modes. All kernels with the same sequence share it. */
export interface BindingLayout {
  /** The access modes as text, such as `read read_write`. */
  readonly key: string;
  readonly accesses: readonly Access[];
  readonly group: GPUBindGroupLayout;
  readonly pipeline: GPUPipelineLayout;
}

/** A kernel that is ready to be dispatched. */
export interface CompiledKernel {
  readonly shader: ShaderVariant;
  readonly layout: BindingLayout;
  readonly pipeline: GPUComputePipeline;
  /** The compiler's error. It becomes known only some time after the compilation began. */
  failure?: Error;
  /** Resolves when the compiler has accepted or refused the kernel. */
  readonly verdict: Promise<void>;
}

/** The compiled kernels of one device. */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #faults: DeviceFaults;
  readonly #tiling: Tiling;
  readonly #tuning: Tuning | undefined;
  readonly #compiled = new Map<Kernel, CompiledKernel>();
  /** The compilations that {@link warm} has started. */
  readonly #ahead = new Map<Kernel, Promise<void>>();
  readonly #modules = new Map<string, GPUShaderModule>();
  readonly #layouts = new Map<string, BindingLayout>();

  constructor(device: GPUDevice, faults: DeviceFaults, tiling: Tiling, tuning?: Tuning) {
    this.#device = device;
    this.#faults = faults;
    this.#tiling = tiling;
    this.#tuning = tuning;
  }

  /**
   * Returns the compiled kernel, and compiles it on first use. A compile error becomes known only later. It fails the next wait for
   * the device, and every later call of this method.
   * @throws {Error} if the kernel did not compile; the message has its name and the compiler's message with the source line
   */
  get(kernel: Kernel): CompiledKernel {
    let compiled = this.#compiled.get(kernel);
    if (!compiled) {
      compiled = this.#compile(kernel);
      this.#compiled.set(kernel, compiled);
    }
    if (compiled.failure) throw compiled.failure;
    return compiled;
  }

  /** Compiles kernels ahead of their use, in parallel if the implementation can. @throws {Error} as {@link get}, for the first kernel that fails */
  async warm(kernels: readonly Kernel[]): Promise<void> {
    await Promise.all(kernels.map((kernel) => {
      let ahead = this.#ahead.get(kernel);
      if (!ahead) this.#ahead.set(kernel, ahead = this.#compileAhead(kernel));
      return ahead;
    }));
    for (const kernel of kernels) await this.#faults.settle(this.get(kernel).verdict);
  }

  #compile(kernel: Kernel): CompiledKernel {
    this.#device.pushErrorScope("validation");
    const { shader, layout, descriptor } = this.#describe(kernel);
    const pipeline = this.#device.createComputePipeline(descriptor);
    const scope = this.#faults.closeScope(this.#device, (error) => refusal(kernel, error));
    const compiled: CompiledKernel = {
      shader,
      layout,
      pipeline,
      verdict: scope.then((error) => {
        if (error) this.#refuse(compiled, error, shader);
      }, () => {}), // the scope rejects only if the device is lost, which `settle` reports
    };
    return compiled;
  }

  /** If the kernel does not compile, nothing is cached, and {@link get} reports why. */
  async #compileAhead(kernel: Kernel): Promise<void> {
    if (this.#compiled.has(kernel)) return;
    this.#device.pushErrorScope("validation");
    const { shader, layout, descriptor } = this.#describe(kernel);
    const module = this.#device.popErrorScope().catch(() => null);
    const pipeline = this.#device.createComputePipelineAsync(descriptor).catch(() => undefined);
    if (await module || !await pipeline) this.#modules.delete(shader.code);
    else if (!this.#compiled.has(kernel)) {
      this.#compiled.set(kernel, { shader, layout, pipeline: (await pipeline)!, verdict: Promise.resolve() });
    }
  }

  #describe(kernel: Kernel) {
    const shader = chooseShader(kernel, this.#tiling, this.#tuning);
    const layout = this.#layout(Object.values(kernel.bindings));
    const descriptor: GPUComputePipelineDescriptor = {
      label: kernel.name,
      layout: layout.pipeline,
      compute: {
        module: this.#module(kernel, shader),
        entryPoint: shader.entryPoint,
        constants: shader.constants,
      },
    };
    return { shader, layout, descriptor };
  }

  #refuse(compiled: CompiledKernel, error: Error, shader: ShaderVariant): void {
    compiled.failure = error;
    // The module is compiled anew for other entry points, so that they get the message with the source line too, not "module is invalid".
    this.#modules.delete(shader.code);
  }

  #module(kernel: Kernel, { code }: ShaderVariant): GPUShaderModule {
    let module = this.#modules.get(code);
    if (!module) {
      module = this.#device.createShaderModule({ label: kernel.name, code });
      this.#modules.set(code, module);
    }
    return module;
  }

  #layout(accesses: readonly Access[]): BindingLayout {
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
      const group = this.#device.createBindGroupLayout({ label: key, entries });
      const pipeline = this.#device.createPipelineLayout({ label: key, bindGroupLayouts: [group] });
      layout = { key, accesses, group, pipeline };
      this.#layouts.set(key, layout);
    }
    return layout;
  }
}

function refusal(kernel: Kernel, { message }: GPUError): Error {
  return new Error(`kernel ${kernel.name} does not compile: ${message.trim()}`);
}
