// A table whose columns can be sorted by their headers, with a caption for those who cannot see where it stands.
// In: columns (how a value is found, compared and shown) and rows. Not here: the live tail (`rows`).
import { html, useMemo, useState } from "./html.js";

/**
 * @typedef {object} Column
 * @property {string} name
 * @property {string} [title] a longer explanation
 * @property {(row: any) => any} value what is sorted by
 * @property {(row: any) => any} [show]
 * @property {boolean} [number] aligned to the right
 * @property {string} [class]
 */

/**
 * @param {{ caption: string, columns: Column[], rows: any[], keyOf: (row: any) => string, sort?: [string, number], empty?: string }} props
 */
export function Table({ caption, columns, rows, keyOf, sort: initial }) {
  const [sort, setSort] = useState(initial ?? null);
  const ordered = useMemo(() => sorted(rows, columns, sort), [rows, sort]);
  return html`
    <div class="table-wrap" tabindex="0" role="group" aria-label=${caption}>
      <table>
        <caption class="unseen">${caption}</caption>
        <thead>
          <tr>${columns.map((column) => html`<${Header} key=${column.name} column=${column} sort=${sort} setSort=${setSort} />`)}</tr>
        </thead>
        <tbody>
          ${ordered.map(
            (row) => html`
              <tr key=${keyOf(row)}>
                ${columns.map((column) => html`<td key=${column.name} class=${cellClass(column)}>${column.show ? column.show(row) : column.value(row)}</td>`)}
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}

/** @param {Column} column */
function cellClass(column) {
  return `${column.number ? "num " : ""}${column.class ?? ""}`;
}

/** @param {{ column: Column, sort: any, setSort: (sort: [string, number]) => void }} props */
function Header({ column, sort, setSort }) {
  const by = sort?.[0] === column.name ? sort[1] : 0;
  const turn = () => setSort([column.name, by ? -by : column.number ? -1 : 1]);
  const state = by === 0 ? "none" : by > 0 ? "ascending" : "descending";
  return html`
    <th scope="col" class=${cellClass(column)} aria-sort=${state}>
      <button type="button" class="sorter" title=${column.title} onClick=${turn}>${column.name}<i aria-hidden="true"></i></button>
    </th>
  `;
}

/** Missing values come last whichever way it goes. @param {any[]} rows @param {Column[]} columns @param {[string, number] | null} sort */
function sorted(rows, columns, sort) {
  const column = columns.find((each) => each.name === sort?.[0]);
  if (!column || !sort) return rows;
  const valueOf = column.value;
  return [...rows].sort((a, b) => {
    const [left, right] = [valueOf(a), valueOf(b)];
    if (left === null || left === undefined) return 1;
    if (right === null || right === undefined) return -1;
    if (typeof left === "number" && typeof right === "number") return (left - right) * sort[1];
    return String(left).localeCompare(String(right)) * sort[1];
  });
}
