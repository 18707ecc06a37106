// Where the boxes and lines of the topology stand: four columns, ordered so that few lines cross.
// In: nodes and edges. Out: coordinates. Pure arithmetic; the view draws. Columns that grow too long are folded, and say so.

/** @typedef {import("../api.js").Node} Node */
/** @typedef {import("../api.js").Edge} Edge */
/** @typedef {Node & { x: number, y: number, column: number, flow: Flow, folded?: number }} Placed */
/** @typedef {Edge & { path: string, labelX: number, labelY: number, anchor: string }} Drawn */
/** @typedef {{ rate: number, errors: number, p99: number | null, count: number }} Flow */

export const BOX = { width: 176, height: 46 };
/** The straight end of a line, on which its label stands. */
const LABEL_WIDTH = 118;
const ROW = 66;
const MARGIN = 8;
const COLUMN_MAX = 24;
const KINDS = ["clients", "route", "upstream", "endpoint"];
const SWEEPS = 4;

/**
 * @param {Node[]} nodes
 * @param {Edge[]} edges
 * @param {number} width of the drawing
 */
export function layout(nodes, edges, width) {
  const folded = fold(nodes, edges);
  const columns = order(folded.nodes, folded.edges);
  const height = Math.max(...columns.map((column) => column.length), 1) * ROW;
  const gap = (width - 2 * MARGIN - BOX.width) / (KINDS.length - 1);
  /** @type {Map<string, Placed>} */
  const placed = new Map();
  columns.forEach((column, index) => {
    const step = height / Math.max(1, column.length);
    column.forEach((node, row) => {
      const y = step * (row + 0.5) - BOX.height / 2;
      placed.set(node.id, { ...node, x: MARGIN + gap * index, y, column: index, flow: flowOf(node, folded.edges) });
    });
  });
  return { width, height, nodes: [...placed.values()], edges: drawnEdges(folded.edges, placed) };
}

/** The least busy nodes of a long column become one. @param {Node[]} nodes @param {Edge[]} edges */
function fold(nodes, edges) {
  /** @type {Map<string, string>} */
  const into = new Map();
  /** @type {(Node & { folded?: number })[]} */
  const kept = [];
  for (const kind of KINDS) {
    const column = nodes.filter((node) => node.kind === kind);
    const busy = [...column].sort((a, b) => flowOf(b, edges).count - flowOf(a, edges).count);
    const rest = busy.length > COLUMN_MAX ? busy.slice(COLUMN_MAX - 1) : [];
    kept.push(...column.filter((node) => !rest.includes(node)));
    if (rest.length > 0) kept.push({ id: `more:${kind}`, kind, name: `${rest.length} more`, folded: rest.length });
    for (const node of rest) into.set(node.id, `more:${kind}`);
  }
  return { nodes: kept, edges: merge(edges.map((edge) => ({ ...edge, from: into.get(edge.from) ?? edge.from, to: into.get(edge.to) ?? edge.to }))) };
}

/** Edges between the same two nodes become one. @param {Edge[]} edges */
function merge(edges) {
  /** @type {Map<string, Edge>} */
  const merged = new Map();
  for (const edge of edges) {
    const key = JSON.stringify([edge.from, edge.to]);
    const old = merged.get(key);
    merged.set(key, old ? { ...old, ...sum([old, edge]) } : edge);
  }
  return [...merged.values()];
}

/** Quantiles cannot be added: the highest stands for all. @param {Edge[]} edges */
function sum(edges) {
  const count = edges.reduce((all, edge) => all + edge.count, 0);
  const failed = edges.reduce((all, edge) => all + edge.errors * edge.count, 0);
  const highest = (/** @type {(number | null)[]} */ values) => values.reduce((best, each) => (each !== null && (best === null || each > best) ? each : best), null);
  return {
    rate: edges.reduce((all, edge) => all + edge.rate, 0),
    errors: count ? failed / count : 0,
    p50: highest(edges.map((edge) => edge.p50)),
    p99: highest(edges.map((edge) => edge.p99)),
    count,
  };
}

/** @param {Node} node @param {Edge[]} edges @returns {Flow} */
function flowOf(node, edges) {
  return sum(edges.filter((edge) => (node.kind === "clients" ? edge.from === node.id : edge.to === node.id)));
}

/** Each column by the middle of its neighbours, swept to and fro. @param {(Node & { folded?: number })[]} nodes @param {Edge[]} edges */
function order(nodes, edges) {
  const columns = KINDS.map((kind) => nodes.filter((node) => node.kind === kind));
  columns[1].sort((a, b) => flowOf(b, edges).count - flowOf(a, edges).count);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const forward = sweep % 2 === 0;
    for (let step = 1; step < columns.length; step += 1) {
      const index = forward ? step : columns.length - 1 - step;
      arrange(columns[index], columns[forward ? index - 1 : index + 1], edges);
    }
  }
  return columns;
}

/** @param {Node[]} column @param {Node[]} beside @param {Edge[]} edges */
function arrange(column, beside, edges) {
  const places = new Map(beside.map((node, index) => [node.id, index / Math.max(1, beside.length - 1)]));
  const middle = new Map(column.map((node, index) => [node.id, middleOf(node, index / Math.max(1, column.length - 1), places, edges)]));
  column.sort((a, b) => (middle.get(a.id) ?? 0) - (middle.get(b.id) ?? 0));
}

/** @param {Node} node @param {number} own @param {Map<string, number>} places @param {Edge[]} edges */
function middleOf(node, own, places, edges) {
  const near = edges.flatMap((edge) => (edge.from === node.id ? [edge.to] : edge.to === node.id ? [edge.from] : []));
  const known = near.map((id) => places.get(id)).filter((place) => place !== undefined);
  return known.length ? known.reduce((all, place) => all + place, 0) / known.length : own;
}

/** @param {Edge[]} edges @param {Map<string, Placed>} placed @returns {Drawn[]} */
function drawnEdges(edges, placed) {
  const degree = (/** @type {"from" | "to"} */ end, /** @type {string} */ id) => edges.filter((edge) => edge[end] === id).length;
  return edges.flatMap((edge) => {
    const [from, to] = [placed.get(edge.from), placed.get(edge.to)];
    if (!from || !to) return [];
    const [x1, y1] = [from.x + BOX.width, from.y + BOX.height / 2];
    const [x2, y2] = [to.x, to.y + BOX.height / 2];
    // The label stands at the end where fewer lines meet.
    const atTarget = degree("to", edge.to) <= degree("from", edge.from);
    return [
      {
        ...edge,
        path: linePath(x1, y1, x2, y2, atTarget),
        labelX: atTarget ? x2 - 6 : x1 + 6,
        labelY: (atTarget ? y2 : y1) - 6,
        anchor: atTarget ? "end" : "start",
      },
    ];
  });
}

/** A curve, with a straight piece at the end where the label stands. @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 @param {boolean} atTarget */
function linePath(x1, y1, x2, y2, atTarget) {
  const straight = Math.min(LABEL_WIDTH, (x2 - x1) * 0.75);
  const from = atTarget ? x1 : x1 + straight;
  const to = atTarget ? x2 - straight : x2;
  const bend = (to - from) / 2;
  const curve = `C${from + bend} ${y1} ${to - bend} ${y2} ${to} ${y2}`;
  return atTarget ? `M${x1} ${y1}${curve}H${x2}` : `M${x1} ${y1}H${from}${curve}`;
}
