"""Composes an overlay, holds it to what it promises, and writes down the manifests and the configuration in them.

Usage: manifests.py OVERLAY MANIFESTS.yaml CONFIGURATION.toml

The overlays use of kustomize what is read here and no more: resources, a namespace that every file names itself, images.
"""

import sys
from pathlib import Path

import yaml

# What may be root, and why it must be.
ROOT = {"owner": "gives the directory to the cache", "mirror": "writes files that are root's"}


def composed(folder):
    """The manifests of an overlay or base."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    known = {"apiVersion", "kind", "namespace", "resources", "images"}
    if set(kustomization) - known:
        sys.exit(f"{folder}: {set(kustomization) - known} is not read here")
    found = []
    for name in kustomization["resources"]:
        path = folder / name
        found += composed(path) if path.is_dir() else yaml.safe_load_all(path.read_text(encoding="utf-8"))
    images = {image["name"]: f"{image['newName']}:{image['newTag']}" for image in kustomization.get("images", [])}
    for each in found:
        pod = each.get("spec", {}).get("template", {}).get("spec", {})
        for container in pod.get("initContainers", []) + pod.get("containers", []):
            container["image"] = images.get(container["image"], container["image"])
    return found


def problems_of(pod):
    """What a pod may do that it need not."""
    shared = pod.get("securityContext", {})
    if shared.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccomp is not RuntimeDefault"
    if pod.get("automountServiceAccountToken") is not False:
        yield "it gets a token"
    if not pod.get("priorityClassName"):
        yield "it has no priority class"
    if pod.get("hostNetwork") or pod.get("hostPID"):
        yield "it is not apart from its node"
    for container in pod.get("initContainers", []) + pod["containers"]:
        name, own = container["name"], {**shared, **container.get("securityContext", {})}
        if not own.get("readOnlyRootFilesystem"):
            yield f"{name} can write its root"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{name} can gain privileges"
        capabilities = own.get("capabilities", {})
        if capabilities.get("drop") != ["ALL"]:
            yield f"{name} keeps capabilities"
        if capabilities.get("add", []) not in ([], ["CHOWN"]) or (capabilities.get("add") and name != "owner"):
            yield f"{name} adds {capabilities['add']}"
        if name not in ROOT and (own.get("runAsNonRoot") is not True or not own.get("runAsUser")):
            yield f"{name} may be root"
        if "limits" not in container.get("resources", {}):
            yield f"{name} has no limits"
        if name == "seawall":
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe not in container:
                    yield f"{name} has no {probe}"


def main(overlay, manifests, configuration):
    found = composed(Path(overlay))
    with open(manifests, "w", encoding="utf-8") as file:
        yaml.safe_dump_all(found, file, sort_keys=False)
    kinds = {each["kind"]: each for each in found}
    apart = ("Namespace", "PriorityClass")
    problems = [
        f"{each['kind']} {each['metadata']['name']} names no namespace"
        for each in found
        if each["kind"] not in apart and each["metadata"].get("namespace") != "seawall"
    ]
    for kind in ("NetworkPolicy", "PriorityClass", "ServiceMonitor", "ServiceAccount"):
        if kind not in kinds:
            problems.append(f"there is no {kind}")
    workload = kinds.get("DaemonSet") or kinds["Deployment"]
    if workload["kind"] == "Deployment" and "PodDisruptionBudget" not in kinds:
        problems.append("there is no PodDisruptionBudget")
    template = workload["spec"]["template"]
    problems += problems_of(template["spec"])
    labels = template["metadata"]["labels"].items()
    selectors = [
        kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        workload["spec"]["selector"]["matchLabels"],
        *(each["spec"]["selector"] for each in found if each["kind"] == "Service"),
    ]
    problems += [f"{selector} selects nothing" for selector in selectors if not selector.items() <= labels]
    for port in template["spec"]["containers"][0]["ports"]:
        if "hostPort" in port and port.get("hostIP") != "127.0.0.1":
            problems.append("the node shows its port to others")
    with open(configuration, "w", encoding="utf-8") as file:
        file.write(kinds["ConfigMap"]["data"]["seawall.toml"])
    for problem in problems:
        print(f"{overlay}: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
