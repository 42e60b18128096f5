/** Icons of our own, drawn on a grid of 24 with one stroke width so that they sit well beside Lab's. */
import { LabIcon } from '@jupyterlab/ui-components';

const svg = (inner: string): string =>
  '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24" fill="none" stroke-width="1.8" ' +
  `stroke-linecap="round" stroke-linejoin="round"><g class="jp-icon3" stroke="#616161">${inner}</g></svg>`;

const icon = (name: string, inner: string): LabIcon => new LabIcon({ name: `llmops:${name}`, svgstr: svg(inner) });

export const modelIcon = icon(
  'model',
  '<circle cx="5" cy="7" r="2"/><circle cx="5" cy="17" r="2"/><circle cx="12" cy="12" r="2.4"/>' +
    '<circle cx="19" cy="5" r="2"/><circle cx="19" cy="12" r="2"/><circle cx="19" cy="19" r="2"/>' +
    '<path d="M6.8 8.2l3.3 2.3M6.8 15.8l3.3-2.3M13.9 10.4l3.6-3.9M14.4 12H17M13.9 13.6l3.6 3.9"/>'
);
export const datasetIcon = icon(
  'dataset',
  '<rect x="3.5" y="4.5" width="17" height="15" rx="1.5"/><path d="M3.5 9.5h17M3.5 14.5h17M9.5 9.5v10"/>'
);
export const promptIcon = icon(
  'prompt',
  '<path d="M4 5h16v11.5H11l-4 3.5v-3.5H4z"/><path d="M8.2 8.4l2.4 2.2-2.4 2.2M12.8 13h3.2"/>'
);
export const runIcon = icon('run', '<circle cx="12" cy="12" r="8.5"/><path d="M10 8.4v7.2l5.8-3.6z"/>');
export const releaseIcon = icon(
  'release',
  '<path d="M12 3l7.5 3v5.6c0 4.4-3 7.7-7.5 9.4-4.5-1.7-7.5-5-7.5-9.4V6z"/><path d="M8.6 12l2.4 2.5 4.5-5"/>'
);
export const reportIcon = icon('report', '<path d="M6 3.5h8.5L19 8v12.5H6z"/><path d="M9 17v-3M12.5 17v-6M16 17v-4.5"/>');
export const dashboardIcon = icon(
  'dashboard',
  '<path d="M4 5v15h16.5"/><path d="M7.5 15.5l3.6-4.4 3 2.6 5.2-6.7"/>'
);
export const tracesIcon = icon(
  'traces',
  '<path d="M4 6h11M7.5 11h12.5M10.5 16h6.5"/><path d="M7.5 6v5M10.5 11v5"/>'
);
export const formIcon = icon('form', '<rect x="4" y="3.5" width="16" height="17" rx="1.5"/><path d="M8 8.5h8M8 12.5h8M8 16.5h4.5"/>');

export const labelIcon = icon('label', '<path d="M4 4.5h8.5L20 12l-7.5 7.5L4 11z"/><circle cx="8.2" cy="8.6" r="1.3"/>');

const KIND: { [kind: string]: LabIcon } = {
  model: modelIcon,
  dataset: datasetIcon,
  prompt: promptIcon,
  chain: promptIcon,
  knowledge: datasetIcon,
  benchmark: reportIcon,
  report: reportIcon,
  release: releaseIcon,
  deployment: tracesIcon,
  template: formIcon,
  run: runIcon
};

export function kindIcon(kind: string): LabIcon {
  return KIND[kind] ?? formIcon;
}
