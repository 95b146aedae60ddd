/** Stores the results of float64 reference computations, which are slow, so that the tests of several backends can share them. */

/** Wraps `make` so that it is called only once per key. */
export function memoize<K, V>(make: (key: K) => V): (key: K) => V {
  const made = new Map<K, V>();
  return (key) => {
    if (!made.has(key)) made.set(key, make(key));
    return made.get(key)!;
  };
}
