// Who talks to whom: clients, routes, upstreams, endpoints, with what flows between them. The same as a table below.
// In: /api/v1/topology every few seconds. Out: links to the requests behind each box and line. Not here: coordinates (`graph`).
import { html, useEffect, useMemo, useRef, useState } from "../parts/html.js";
import { count, ms, plural, rate, share, span, visible } from "../parts/format.js";
import { BOX, layout } from "../parts/graph.js";
import { ROW_KEYS, useKeys } from "../parts/keys.js";
import { Cut, Panel } from "../parts/panel.js";
import { usePolled } from "../parts/polled.js";
import { FOLDED, term } from "../parts/query.js";
import { edgeKey, slowEdges } from "../parts/slow.js";
import { Table } from "../parts/table.js";
import { hashOf, replace } from "../router.js";

/** @typedef {import("../parts/graph.js").Placed} Placed */
/** @typedef {import("../parts/graph.js").Drawn} Drawn */

const EVERY_MS = 5_000;
const WIDTH_MIN = 1_120;
const EDGES_SHOWN = 40;
const NAME_MAX = 19;
/** About as wide as a character of a label. */
const LABEL_CHAR = 5.7;
/** @type {[number, string][]} */
const WINDOWS = [[60, "1 min"], [300, "5 min"], [3600, "1 h"]];
const TITLES = ["Clients", "Routes", "Upstreams", "Endpoints"];
/** @type {Record<string, string>} */
const KEYS = { route: "route", upstream: "upstream", endpoint: "endpoint" };

/** @param {{ params: URLSearchParams }} props */
export function Topology({ params }) {
  const seconds = Number(params.get("window") ?? 300);
  const asked = usePolled("topology", { window: seconds }, EVERY_MS);
  useKeys(ROW_KEYS);
  const aside = html`
    <div class="segments" role="group" aria-label="Length of time">
      ${WINDOWS.map(([each, label]) => html`<button
        key=${each}
        type="button"
        aria-pressed=${String(each === seconds)}
        onClick=${() => replace(hashOf("topology", { window: each }))}
      >${label}</button>`)}
    </div>
  `;
  const isEmpty = (/** @type {any} */ body) => !body.edges?.length;
  return html`
    <h1 tabindex="-1" class="unseen">Topology</h1>
    <${Panel} title="Topology" aside=${aside} asked=${asked} isEmpty=${isEmpty} empty=${`No request in the last ${span(seconds)}, so nothing flows.`}>
      ${(/** @type {any} */ body) => html`<${Drawing} nodes=${body.nodes} edges=${body.edges} />`}
    <//>
    ${asked.error && !asked.data
      ? null
      : html`
          <${Panel} title="The same as a table" asked=${asked} isEmpty=${isEmpty} empty="Nothing flows.">
            ${(/** @type {any} */ body) => html`<${Edges} nodes=${body.nodes} edges=${body.edges} />`}
          <//>
        `}
  `;
}

/** @param {{ nodes: import("../api.js").Node[], edges: import("../api.js").Edge[] }} props */
function Drawing({ nodes, edges }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [width, setWidth] = useState(WIDTH_MIN);
  useEffect(() => {
    const sizes = new ResizeObserver(() => box.current && setWidth(Math.max(WIDTH_MIN, innerWidthOf(box.current))));
    if (box.current) sizes.observe(box.current);
    return () => sizes.disconnect();
  }, []);
  const graph = useMemo(() => layout(nodes, edges, width), [nodes, edges, width]);
  const busiest = Math.max(...graph.edges.map((edge) => edge.rate), 0.001);
  const slow = useMemo(() => slowEdges(edges), [edges]);
  const slowAt = (/** @type {string} */ id) => graph.edges.flatMap((edge) => (edge.to === id ? (slow.get(edgeKey(edge)) ?? []) : [])).join("; ");
  return html`
    <div class="topology" ref=${box} tabindex="0" role="group" aria-label="Topology, drawn; the table below says the same">
      <div class="topology-titles" style=${{ width: `${width}px` }} aria-hidden="true">${TITLES.map((title) => html`<span key=${title}>${title}</span>`)}</div>
      <svg width=${width} height=${graph.height} viewBox="0 0 ${width} ${graph.height}" role="group" aria-label="Boxes and lines">
        <g>${graph.edges.map((edge) => html`<${Line} key=${edgeKey(edge)} edge=${edge} busiest=${busiest} slow=${slow.get(edgeKey(edge))} />`)}</g>
        <g>${graph.nodes.map((node) => html`<${Box} key=${node.id} node=${node} slow=${slowAt(node.id)} />`)}</g>
        <g class="edge-labels">${graph.edges.map((edge) => html`<${Label} key=${edgeKey(edge)} edge=${edge} slow=${slow.get(edgeKey(edge))} />`)}</g>
      </svg>
    </div>
  `;
}

/** Without the padding. @param {HTMLElement} box */
function innerWidthOf(box) {
  const style = getComputedStyle(box);
  return Math.floor(box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight));
}

/** @param {number} errors @param {string} [slow] why it is slow */
function tone(errors, slow = "") {
  return errors >= 0.05 ? "bad" : errors >= 0.005 || slow ? "warn" : "";
}

/** @param {{ edge: Drawn, busiest: number, slow?: string }} props */
function Line({ edge, busiest, slow }) {
  const width = 1.2 + 4 * Math.sqrt(edge.rate / busiest);
  return html`
    <a href=${edgeHref(edge)} tabindex="-1" aria-hidden="true">
      <path class="edge" data-tone=${tone(edge.errors, slow)} d=${edge.path} stroke-width=${width.toFixed(2)} />
      <path class="edge-hit" d=${edge.path} />
    </a>
  `;
}

/** @param {{ edge: Drawn, slow?: string }} props */
function Label({ edge, slow }) {
  const text = `${rate(edge.rate)} · ${edge.errors > 0 ? `${share(edge.errors)} · ` : ""}${ms(edge.p99)}`;
  const width = text.length * LABEL_CHAR;
  return html`
    <rect x=${edge.anchor === "end" ? edge.labelX - width : edge.labelX} y=${edge.labelY - 10} width=${width} height="12" rx="3" />
    <text x=${edge.labelX} y=${edge.labelY} text-anchor=${edge.anchor} data-tone=${tone(edge.errors, slow)}>${text}</text>
  `;
}

/** @param {{ node: Placed, slow: string }} props */
function Box({ node, slow }) {
  const name = visible(node.name) || nameless(node.kind);
  const said = `${node.kind} ${name}, p99 ${ms(node.flow.p99)}${slow ? `, ${slow}` : ""}`;
  const inside = html`
    <title>${said}</title>
    <rect class="box" data-kind=${node.kind} data-tone=${tone(node.flow.errors, slow)} width=${BOX.width} height=${BOX.height} rx="7" />
    <text class="box-name" x="12" y="19">${shortened(name)}</text>
    <text class="box-flow" x="12" y="35">${rate(node.flow.rate)}${node.flow.errors > 0 ? ` · ${share(node.flow.errors)} failed` : ""}${slow ? html`<tspan class="slow"> · slow</tspan>` : null}</text>
  `;
  const place = `translate(${node.x.toFixed(1)} ${node.y.toFixed(1)})`;
  const href = nodeHref(node);
  if (!href) return html`<g transform=${place}>${inside}</g>`;
  return html`<a href=${href} transform=${place} class="node-link">${inside}</a>`;
}

/** Requests that no route took flow somewhere too. @param {string | undefined} kind */
function nameless(kind) {
  return kind === "route" ? "(no route)" : "(none)";
}

/** The end of a name tells more than its middle. @param {string} name */
function shortened(name) {
  if (name.length <= NAME_MAX) return name;
  return `${name.slice(0, NAME_MAX - 9)}…${name.slice(-8)}`;
}

/** @param {Placed} node */
function nodeHref(node) {
  if (node.kind === "clients") return hashOf("requests");
  if (node.folded || node.name === FOLDED || !KEYS[node.kind]) return null;
  return hashOf("requests", { q: term(KEYS[node.kind], node.name) });
}

/** Both ends of a line as terms. @param {{ from: string, to: string }} edge */
function edgeHref(edge) {
  const terms = [edge.from, edge.to].map(idTerm).filter(Boolean);
  return hashOf("requests", { q: terms.join(" ") });
}

/** `route:users` is its own term, but for quotes. @param {string} id */
function idTerm(id) {
  const colon = id.indexOf(":");
  const key = KEYS[id.slice(0, colon)];
  const name = id.slice(colon + 1);
  return key && name !== FOLDED ? term(key, name) : "";
}

/** @param {{ nodes: import("../api.js").Node[], edges: import("../api.js").Edge[] }} props */
function Edges({ nodes, edges }) {
  const [all, setAll] = useState(false);
  const busiest = useMemo(() => [...edges].sort((a, b) => b.count - a.count), [edges]);
  const shown = all ? busiest : busiest.slice(0, EDGES_SHOWN);
  const rest = busiest.length - shown.length;
  const names = new Map(nodes.map((node) => [node.id, node]));
  const nameOf = (/** @type {string} */ id) => visible(names.get(id)?.name ?? id) || nameless(names.get(id)?.kind);
  const kindOf = (/** @type {string} */ id) => html`<span class="quiet">${names.get(id)?.kind ?? ""}</span>`;
  const from = (/** @type {any} */ edge) => html`${kindOf(edge.from)} <${Cut} class="name" text=${nameOf(edge.from)} />`;
  const to = (/** @type {any} */ edge) => html`${kindOf(edge.to)} <a class="cut name" title=${nameOf(edge.to)} data-row=${edgeKey(edge)} href=${edgeHref(edge)}>${nameOf(edge.to)}</a>`;
  const slow = useMemo(() => slowEdges(edges), [edges]);
  const named = (/** @type {any} */ edge) => html`${to(edge)}${slow.has(edgeKey(edge)) ? html` <span class="chip" data-tone="warn" title=${slow.get(edgeKey(edge))}>slow</span>` : null}`;
  const failed = (/** @type {any} */ edge) => html`<span data-tone=${tone(edge.errors)}>${share(edge.errors)}</span>`;
  /** @type {import("../parts/table.js").Column[]} */
  const columns = [
    { name: "From", value: (edge) => nameOf(edge.from), show: from },
    { name: "To", value: (edge) => nameOf(edge.to), show: named },
    { name: "Requests", number: true, value: (edge) => edge.rate, show: (edge) => rate(edge.rate) },
    { name: "Failed", number: true, value: (edge) => edge.errors, show: failed },
    { name: "p50", number: true, value: (edge) => edge.p50, show: (edge) => ms(edge.p50) },
    { name: "p99", number: true, value: (edge) => edge.p99, show: (edge) => ms(edge.p99) },
    { name: "Count", number: true, value: (edge) => edge.count, show: (edge) => count(edge.count) },
  ];
  return html`
    <${Table} caption="What flows between whom" columns=${columns} rows=${shown} keyOf=${edgeKey} />
    ${rest > 0 ? html`<button type="button" class="more" onClick=${() => setAll(true)}>${plural(rest, "more line")}</button>` : null}
  `;
}
