/** The rows of a table whose items are refreshed. A row stays while its item exists, so that it keeps the focus. */

/** One row, and the function that shows a newer state of its item. */
export interface Row<T> {
  readonly element: HTMLTableRowElement;
  update(item: T): void;
}

export class KeyedRows<T> {
  readonly #keyOf: (item: T) => string;
  readonly #create: (item: T) => Row<T>;
  readonly #rows = new Map<string, Row<T>>();

  /** @param create makes the row of an item. `update` is called for it afterwards */
  constructor(private readonly body: HTMLElement, keyOf: (item: T) => string, create: (item: T) => Row<T>) {
    this.#keyOf = keyOf;
    this.#create = create;
  }

  /** Shows exactly these items, in this order. */
  show(items: readonly T[]): void {
    const keys = new Set(items.map(this.#keyOf));
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue;
      row.element.remove();
      this.#rows.delete(key);
    }
    for (const [index, item] of items.entries()) {
      const { element } = this.update(item), place = this.body.children[index];
      if (place !== element) this.body.insertBefore(element, place ?? null);
    }
  }

  /** Shows a newer state of one item. Creates its row at the end if it has none. */
  update(item: T): Row<T> {
    const key = this.#keyOf(item);
    let row = this.#rows.get(key);
    if (!row) {
      row = this.#create(item);
      this.#rows.set(key, row);
      this.body.append(row.element);
    }
    row.update(item);
    return row;
  }
}
