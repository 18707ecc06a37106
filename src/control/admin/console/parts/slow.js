// Which endpoints of an upstream are clearly slower than those beside them.
// In: the edges of the topology. Out: the slow ones, each with the figures that say so. Not here: why; changes and verdicts tell that.
import { isNumber, ms } from "./format.js";

/** @typedef {import("../api.js").Edge} Edge */

/** Twice as slow as the others, and by more than nobody notices. A quantile says little before so many requests. */
const FACTOR = 2;
/** @type {{ name: "p50" | "p99", more_ms: number, count_min: number }[]} */
const MEASURES = [
  { name: "p50", more_ms: 2, count_min: 20 },
  { name: "p99", more_ms: 10, count_min: 100 },
];

/** The name of an edge among others. @param {{ from: string, to: string }} edge */
export const edgeKey = (edge) => `${edge.from} ${edge.to}`;

/**
 * @param {Edge[]} edges
 * @returns {Map<string, string>} by the key of the edge, in words
 */
export function slowEdges(edges) {
  /** @type {Map<string, string>} */
  const slow = new Map();
  for (const edge of edges.filter((each) => each.from.startsWith("upstream:"))) {
    const beside = edges.filter((other) => other.from === edge.from && other.to !== edge.to);
    const why = MEASURES.map((measure) => slowBy(measure, edge, beside)).find(Boolean);
    if (why) slow.set(edgeKey(edge), why);
  }
  return slow;
}

/** @param {typeof MEASURES[number]} measure @param {Edge} edge @param {Edge[]} beside */
function slowBy({ name, more_ms, count_min }, edge, beside) {
  const own = edge[name];
  const others = beside.filter((each) => each.count >= count_min).map((each) => each[name]).filter(isNumber).sort((a, b) => a - b);
  const middle = others[Math.floor((others.length - 1) / 2)];
  if (!isNumber(own) || middle === undefined || edge.count < count_min) return "";
  return own >= FACTOR * middle && own - middle >= more_ms ? `slow: ${name} ${ms(own)}, beside it ${ms(middle)}` : "";
}
