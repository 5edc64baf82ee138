"""Compares our table of EC2's actions (JSON, in the file that is named) with botocore's model of the service: an action, parameter,
filter or element of ours that EC2 does not have is an error; what EC2 has and we have not is listed."""

import json
import re
import sys

import botocore.loaders
import botocore.model

# What EC2 takes though its documentation does not say so, or says it otherwise; recorded in September 2026.
UNDOCUMENTED_FILTERS = {
    "DescribeVolumes": {"tag-value"},
    "DescribeSnapshots": {"tag-value"},
    "DescribeVolumesModifications": {"original-multi-attach-enabled", "target-multi-attach-enabled"},
}
# What every void action answers.
VOID = {"return"}


def sent_name(shape, default):
    named = shape.serialization
    if "queryName" in named:
        return named["queryName"]
    name = named.get("name", default)
    return name[0].upper() + name[1:]


def parameters(shape, prefix=""):
    for name, member in shape.members.items():
        path = prefix + sent_name(member, name)
        if member.type_name == "list":
            path, member = path + ".N", member.member
        if member.type_name == "structure":
            yield from parameters(member, path + ".")
        else:
            yield path


def elements(shape):
    found = {}
    for name, member in shape.members.items():
        inner = member.member if member.type_name == "list" else member
        name = member.serialization.get("name", name)
        found[name] = elements(inner) if inner.type_name == "structure" else {}
    return found


def filters(shape):
    member = shape.members.get("Filters")
    if member is None:
        return set()
    names = re.findall(r"<code>([^<]+)</code>\s*[-:]", member.documentation.replace("&lt;", "["))
    names = {re.sub(r"^tag:\[.*", "tag:<key>", name) for name in names}
    # The documentation says "tag:<key>" once as markup and once as text.
    return names | ({"tag:<key>"} if "<code>tag" in member.documentation else set())


def odd_elements(ours, theirs, path):
    for name, inner in ours.items():
        if name not in theirs:
            yield f"{path}{name}"
        else:
            yield from odd_elements(inner, theirs[name], f"{path}{name}.")


def missing_elements(ours, theirs, path):
    for name, inner in theirs.items():
        if name not in ours:
            yield f"{path}{name}"
        else:
            yield from missing_elements(ours[name], inner, f"{path}{name}.")


with open(sys.argv[1], encoding="utf-8") as source:
    table = json.load(source)
model = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("ec2", "service-2"))
assert len(table["actions"]) >= 10, "the table has actions"

odd = []
for action, ours in table["actions"].items():
    if action not in model.operation_names:
        odd.append(f"{action}: EC2 has no such action")
        continue
    operation = model.operation_model(action)
    theirs = set(parameters(operation.input_shape))
    names = {parameter["name"] for parameter in ours["parameters"]}
    odd += [f"{action}: EC2 has no parameter {name}" for name in sorted(names - theirs)]
    known = filters(operation.input_shape) | UNDOCUMENTED_FILTERS.get(action, set())
    odd += [f"{action}: EC2 has no filter {name}" for name in sorted(set(ours["filters"]) - known)]
    output = elements(operation.output_shape) if operation.output_shape else {}
    void = {name: {} for name in VOID if "return" not in output}
    odd += [f"{action}: EC2 answers no {name}" for name in odd_elements(ours["answer"], output | void, "")]
    lacking = sorted(theirs - names - {"DryRun"})
    lacking += [f"filter {name}" for name in sorted(known - set(ours["filters"]))]
    lacking += [f"element {name}" for name in missing_elements(ours["answer"], output, "")]
    print(f"{action} lacks: {', '.join(lacking) or 'nothing'}")

assert not odd, "\n".join(odd)
print("done")
