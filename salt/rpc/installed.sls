{%- set rpc = pillar.rpc %}
{%- from "rpc/places.jinja" import home %}
{%- set artifact = rpc.artifact %}
{%- set kind = artifact.get("kind") or raise("rpc:artifact:kind is empty in the pillar: archive, binary or package") %}

{%- if kind == "package" %}
{%- set package = artifact.get("package") or raise("rpc:artifact:package is empty in the pillar: name the package to install") %}

include:
  - base.installed

{%- if package.repo is defined %}

Add the package repository of the RPC node:
  pkgrepo.managed:
    - name: {{ package.repo | yaml_dquote }}
    - file: /etc/apt/sources.list.d/fanatico-rpc.list
    - require_in:
      - pkg: Install the RPC node
{%- endif %}

Install the RPC node:
  pkg.installed:
    - name: {{ package.name }}
{%- if package.version is defined %}
    - version: {{ package.version | yaml_dquote }}
{%- endif %}
    - require:
      - file: Prevent packages from starting our services
{%- else %}
{%- for key, lack in {
  "source": "say where the RPC node's " ~ kind ~ " is",
  "sha256": "without it nobody knows what would be installed",
  "bin": "name the program in the archive",
}.items() if not artifact.get(key) and (kind, key) != ("binary", "bin") %}
{{ raise("rpc:artifact:" ~ key ~ " is empty in the pillar: " ~ lack) }}
{%- endfor %}

Install the RPC node:
  fanatico_artifact.installed:
    - name: {{ home }}
    - source: {{ artifact.source }}
    - sha256: {{ artifact.sha256 | yaml_dquote }}
    - program: {{ artifact.get("bin") or artifact.source.split("/")[-1] }}
    - strip: {{ artifact.strip }}
    - archive: {{ kind == "archive" }}
{%- endif %}
{%- if rpc.ws == "proxy" %}

Install the WebSocket library:
  pkg.installed:
    - name: python3-websockets
{%- endif %}
