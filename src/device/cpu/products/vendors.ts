/**
 * The libraries for products that Pare knows. A library is recognised by functions that only its vendor has. The same
 * functions restrict the library to the thread that calls it, and return the version for the library's name in reports.
 */

/** Functions outside the BLAS standard. A library has only the functions of its own vendor. */
export const VENDOR_SYMBOLS = {
  openblas_set_num_threads: { parameters: ["i32"], result: "void", optional: true },
  openblas_get_config: { parameters: [], result: "pointer", optional: true },
  openblas_get_corename: { parameters: [], result: "pointer", optional: true },
  MKL_Set_Num_Threads: { parameters: ["i32"], result: "void", optional: true },
  MKL_CBWR_Set: { parameters: ["i32"], result: "i32", optional: true },
  MKL_Get_Version: { parameters: ["buffer"], result: "void", optional: true },
  bli_thread_set_num_threads: { parameters: ["i64"], result: "void", optional: true },
  bli_info_get_version_str: { parameters: [], result: "pointer", optional: true },
  bli_arch_query_id: { parameters: [], result: "i32", optional: true },
  bli_arch_string: { parameters: ["i32"], result: "pointer", optional: true },
  BLASSetThreading: { parameters: ["i32"], result: "i32", optional: true },
  dnnl_version: { parameters: [], result: "pointer", optional: true },
  dnnl_get_effective_cpu_isa: { parameters: [], result: "i32", optional: true },
  dnnl_cpu_isa2str: { parameters: ["i32"], result: "pointer", optional: true },
  /** Of OpenMP, to which oneDNN links. Sets the number of threads for calls from this thread. */
  omp_set_num_threads: { parameters: ["i32"], result: "void", optional: true },
  /** Of glibc. Sets a parameter of its allocator. */
  mallopt: { parameters: ["i32", "i32"], result: "i32", optional: true },
  /** Of the C library, to which every library links. Copies a string of C into a buffer. */
  strncpy: { parameters: ["buffer", "pointer", "usize"], result: "pointer" },
  /** Of the C library. Copies bytes into a buffer. */
  memcpy: { parameters: ["buffer", "pointer", "usize"], result: "pointer" },
} as const satisfies Deno.ForeignLibraryInterface;

type VendorSymbols = Deno.StaticForeignLibraryInterface<typeof VENDOR_SYMBOLS>;

/** The longest name that is read, in bytes. */
const MAX_NAME_BYTES = 256;
/** MKL_CBWR_AUTO: the same bits in every run on this processor, whatever the alignment of the matrices. */
const MKL_REPRODUCIBLE = 2;
/** The 64-bit words of MKL's version. Three 32-bit numbers and padding come before the addresses of four texts. */
const MKL_VERSION_WORDS = 6;
const MKL_PROCESSOR_WORD = 4;
/** BLAS_THREADING_SINGLE_THREADED of Accelerate. */
const ACCELERATE_SINGLE_THREADED = 1;
/** The 32-bit words of oneDNN's version: three numbers, padding, the address of a text, and the runtime of threads. */
const ONEDNN_VERSION_WORDS = 7;
const ONEDNN_RUNTIME_WORD = 6;
/** DNNL_RUNTIME_OMP. */
const ONEDNN_OPENMP = 2;
/**
 * Two parameters of glibc's allocator, and more bytes than a product by oneDNN needs. The first is M_TRIM_THRESHOLD, the
 * free bytes at the end of a heap that the allocator does not return to the system. The second is M_MMAP_THRESHOLD, the
 * size from which on an allocation has pages of its own. With the defaults of 128 KiB, the system takes the memory back
 * and clears it again in every product, which then takes up to a third longer. glibc raises the second one by itself
 * when a program frees large allocations, but no longer after the first one is set.
 */
const KEPT_BYTES = [[-1, 16 << 20], [-3, 4 << 20]] as const;

/**
 * Restricts the library to the thread that calls it, and returns its name: vendor, version, and the instruction set or
 * the kind of processor for which the library chose its code, without commas. A sandbox can refuse matrix units that the
 * processor has, so the library itself is asked. Returns undefined if the library is of no known vendor.
 */
export function restrictAndName(library: VendorSymbols): string | undefined {
  if (library.openblas_set_num_threads && library.openblas_get_config && library.openblas_get_corename) {
    library.openblas_set_num_threads(1);
    // The configuration begins with the name and the version.
    const version = copyString(library, library.openblas_get_config()).split(" ").slice(0, 2).join(" ");
    return `${version} ${copyString(library, library.openblas_get_corename())}`;
  }
  if (library.MKL_Set_Num_Threads && library.MKL_Get_Version) {
    library.MKL_Set_Num_Threads(1);
    library.MKL_CBWR_Set?.(MKL_REPRODUCIBLE);
    const words = new BigUint64Array(MKL_VERSION_WORDS);
    library.MKL_Get_Version(words);
    const [year, , update] = new Uint32Array(words.buffer);
    const processor = copyString(library, Deno.UnsafePointer.create(words[MKL_PROCESSOR_WORD]));
    return `MKL ${year}.${update} for ${processor.replaceAll("(R)", "")}`;
  }
  if (library.bli_thread_set_num_threads && library.bli_info_get_version_str) {
    library.bli_thread_set_num_threads(1n);
    const version = copyString(library, library.bli_info_get_version_str());
    const processor = library.bli_arch_query_id && library.bli_arch_string
      ? ` ${copyString(library, library.bli_arch_string(library.bli_arch_query_id()))}`
      : "";
    return `BLIS ${version}${processor}`;
  }
  if (library.dnnl_version && library.dnnl_get_effective_cpu_isa && library.dnnl_cpu_isa2str) {
    const words = new Uint32Array(ONEDNN_VERSION_WORDS);
    library.memcpy(words, library.dnnl_version(), BigInt(words.byteLength));
    if (words[ONEDNN_RUNTIME_WORD] !== ONEDNN_OPENMP || !library.omp_set_num_threads) return undefined;
    library.omp_set_num_threads(1);
    for (const [parameter, bytes] of KEPT_BYTES) library.mallopt?.(parameter, bytes);
    const processor = copyString(library, library.dnnl_cpu_isa2str(library.dnnl_get_effective_cpu_isa()));
    return `oneDNN ${words.subarray(0, 3).join(".")} ${processor.replace(/^cpu_isa_/, "")}`;
  }
  if (library.BLASSetThreading) {
    library.BLASSetThreading(ACCELERATE_SINGLE_THREADED);
    return `Accelerate of macOS ${Deno.osRelease()}`;
  }
}

/** Returns a string of C without commas, because they separate the parts of an adapter's name. */
function copyString(library: VendorSymbols, text: Deno.PointerValue): string {
  const copy = new Uint8Array(MAX_NAME_BYTES);
  if (text) library.strncpy(copy, text, BigInt(MAX_NAME_BYTES - 1));
  return new TextDecoder().decode(copy.subarray(0, copy.indexOf(0))).replaceAll(",", "");
}
