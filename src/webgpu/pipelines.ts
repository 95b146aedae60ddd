/**
 * Compiles kernels, once each. Bind group layouts come from the declaration, not from the shader
 * (`layout: "auto"` drops a binding that the entry point does not touch, and the bind group no longer fits).
 */

import type { Access, Kernel, ShaderVariant } from "../kernels/kernel.ts";
import type { DeviceFaults } from "./faults.ts";

/** Bytes of the uniform block each dispatch sees: room for 64 parameters, and WebGPU's alignment of dynamic offsets. */
export const PARAMS_BYTES = 256;

/** Which of a kernel's two shaders to use. */
export type Tiling = "discrete" | "software";

/** The layout of one sequence of accesses, shared by every kernel that has it. */
export interface BindingLayout {
  /** The accesses, spelled: `read read_write`. */
  readonly key: string;
  readonly group: GPUBindGroupLayout;
  readonly pipeline: GPUPipelineLayout;
}

/** A kernel ready to dispatch. */
export interface CompiledKernel {
  readonly shader: ShaderVariant;
  readonly layout: BindingLayout;
  readonly pipeline: GPUComputePipeline;
  /** Set when the compiler refused it, which is known a moment after. */
  failure?: Error;
  /** Settles with the compiler's verdict. */
  readonly verdict: Promise<void>;
}

/** The compiled kernels of one device. */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #faults: DeviceFaults;
  readonly #tiling: Tiling;
  readonly #compiled = new Map<Kernel, CompiledKernel>();
  readonly #modules = new Map<string, GPUShaderModule>();
  readonly #layouts = new Map<string, BindingLayout>();

  constructor(device: GPUDevice, faults: DeviceFaults, tiling: Tiling) {
    this.#device = device;
    this.#faults = faults;
    this.#tiling = tiling;
  }

  /**
   * The compiled kernel; compiles on first use. A compile error is known only later: it fails the next wait for
   * the device, and from then on this call.
   * @throws {Error} the kernel is known not to compile: its name and the compiler's message with the source line
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

  /** Compiles ahead. @throws {Error} as {@link get}, for the first that does not compile */
  async warm(kernels: readonly Kernel[]): Promise<void> {
    for (const kernel of kernels) {
      await this.#faults.settle(this.get(kernel).verdict);
    }
  }

  #compile(kernel: Kernel): CompiledKernel {
    const shader = this.#tiling === "software" ? kernel.softwareShader ?? kernel.shader : kernel.shader;
    const layout = this.#layout(Object.values(kernel.bindings));
    this.#device.pushErrorScope("validation");
    const module = this.#module(kernel, shader);
    const pipeline = this.#device.createComputePipeline({
      label: kernel.name,
      layout: layout.pipeline,
      compute: { module, entryPoint: shader.entryPoint, constants: shader.constants },
    });
    const scope = this.#faults.closeScope(
      this.#device,
      (error) => new Error(`kernel ${kernel.name} does not compile: ${error.message.trim()}`),
    );
    const compiled: CompiledKernel = {
      shader,
      layout,
      pipeline,
      verdict: scope.then((error) => {
        if (error) this.#refuse(compiled, error, shader);
      }, () => {}), // a rejected scope means a lost device, which `settle` reports
    };
    return compiled;
  }

  #refuse(compiled: CompiledKernel, error: Error, shader: ShaderVariant): void {
    compiled.failure = error;
    // Another entry point of the same source must get the message with the source line, not "module is invalid".
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
      layout = { key, group, pipeline };
      this.#layouts.set(key, layout);
    }
    return layout;
  }
}
