/**
 * Counts the bytes that this JavaScript realm copies on the host, and the times that it waits for a WebGPU device. The host is
 * the CPU and its memory. The counter replaces the functions of the language and of WebGPU with which a program copies whole
 * arrays or waits. It therefore counts a copy wherever it is made, and the counted code needs no counters of its own.
 */

/** The counts of one phase of a request. */
export interface HostWork {
  /** The bytes that were copied from one array of the host's memory to another. */
  readonly copiedBytes: number;
  /** The number of waits for the device before which work had been submitted since the previous wait. */
  readonly waits: number;
  /** The number of submissions of work to the device. */
  readonly submissions: number;
}

/** Copies of fewer bytes are not counted. They are headers and the parameters of single dispatches, and not the data of a tensor. */
const LEAST_COUNTED_BYTES = 1024;

/** The label of the buffer with the parameters of dispatches, which are not data of a request. */
const PARAMETERS_LABEL = "params";

const ARRAY_TYPES = ["Uint8Array", "Uint16Array", "Uint32Array", "Float32Array"] as const;

/** Counts copies and waits from its creation until it is disposed of. Only one counter may exist at a time. */
export class CopyCounter implements Disposable {
  readonly #restore = new DisposableStack();
  #copiedBytes = 0;
  #waits = 0;
  #submissions = 0;
  /** Whether work was submitted since the last wait. Otherwise the device has nothing left to wait for. */
  #isDeviceBusy = false;

  constructor() {
    const addCopy = (bytes: number) => this.#addCopy(bytes), addWait = () => this.#addWait();
    const addSubmission = () => this.#addSubmission();
    const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array;
    this.#replace(
      typedArray,
      "set",
      (set) =>
        function (this: Uint8Array, source: ArrayLike<number>, offset?: number) {
          addCopy(source.length * this.BYTES_PER_ELEMENT);
          return set.call(this, source, offset);
        },
    );
    this.#replace(
      typedArray,
      "slice",
      (slice) =>
        function (this: Uint8Array<ArrayBuffer>, begin?: number, end?: number) {
          const result = slice.call(this, begin, end);
          addCopy(result.byteLength);
          return result;
        },
    );
    this.#replace(
      typedArray,
      "copyWithin",
      (copy) =>
        function (this: Uint8Array, target: number, start: number, end: number = this.length) {
          addCopy((end - start) * this.BYTES_PER_ELEMENT);
          return copy.call(this, target, start, end);
        },
    );
    this.#replace(
      ArrayBuffer.prototype,
      "slice",
      (slice) =>
        function (this: ArrayBuffer, begin?: number, end?: number) {
          const result = slice.call(this, begin, end);
          addCopy(result.byteLength);
          return result;
        },
    );
    for (const name of ARRAY_TYPES) this.#countConstructor(name);
    this.#replace(
      GPUQueue.prototype,
      "writeBuffer",
      (write) =>
        function (this: GPUQueue, ...args: Parameters<GPUQueue["writeBuffer"]>) {
          const [target, , data, , size] = args, bytes = size ?? (data as Uint8Array).byteLength;
          if (target.label !== PARAMETERS_LABEL) addCopy(bytes);
          return write.apply(this, args);
        },
    );
    this.#replace(
      GPUQueue.prototype,
      "submit",
      (submit) =>
        function (this: GPUQueue, commands: Iterable<GPUCommandBuffer>) {
          const list = [...commands];
          if (list.length > 0) addSubmission();
          return submit.call(this, list);
        },
    );
    this.#replace(
      GPUBuffer.prototype,
      "mapAsync",
      (map) =>
        function (this: GPUBuffer, ...args: Parameters<GPUBuffer["mapAsync"]>) {
          addWait();
          return map.apply(this, args);
        },
    );
    this.#replace(GPUQueue.prototype, "onSubmittedWorkDone", (wait) =>
      function (this: GPUQueue) {
        addWait();
        return wait.call(this);
      });
  }

  /** Returns the counts since the last call, or since the creation, and starts again at 0. */
  takeCounts(): HostWork {
    const counts = {
      copiedBytes: this.#copiedBytes,
      waits: this.#waits,
      submissions: this.#submissions,
    };
    this.#copiedBytes = this.#waits = this.#submissions = 0;
    return counts;
  }

  /** Runs `work` without counting its copies. Use this for work that stands for a program outside of the host. */
  uncounted<T>(work: () => T): T {
    const before = this.#copiedBytes;
    try {
      return work();
    } finally {
      this.#copiedBytes = before;
    }
  }

  [Symbol.dispose](): void {
    this.#restore.dispose();
  }

  #addCopy(bytes: number): void {
    if (bytes >= LEAST_COUNTED_BYTES) this.#copiedBytes += bytes;
  }

  #addSubmission(): void {
    this.#submissions++;
    this.#isDeviceBusy = true;
  }

  #addWait(): void {
    if (this.#isDeviceBusy) this.#waits++;
    this.#isDeviceBusy = false;
  }

  /** Replaces the method `name` of `owner` until the counter is disposed of. */
  #replace<Owner extends object, Name extends keyof Owner>(
    owner: Owner,
    name: Name,
    wrap: (original: Owner[Name]) => Owner[Name],
  ): void {
    const original = owner[name];
    owner[name] = wrap(original);
    this.#restore.defer(() => void (owner[name] = original));
  }

  /** Counts `new NAME(array)`, which copies the elements of an array that is not a buffer. */
  #countConstructor(name: typeof ARRAY_TYPES[number]): void {
    const globals = globalThis as unknown as Record<string, typeof Uint8Array>, original = globals[name];
    globals[name] = new Proxy(original, {
      construct: (target, args, newTarget) => {
        const [source] = args;
        const result = Reflect.construct(target, args, newTarget) as Uint8Array;
        if (ArrayBuffer.isView(source) || Array.isArray(source)) this.#addCopy(result.byteLength);
        return result;
      },
    });
    this.#restore.defer(() => void (globals[name] = original));
  }
}
