# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# Wrong answers that `selftest` plants, one at a time: the answer that each replaces, and the points that it must cost.
# 0 points: costs nothing alone, but hides other mistakes, so `selftest --quick` must not plant it beside those.


# %% wrong="prefix of the first name for all" answer="read_checkpoint" loses={"read_checkpoint": 2, "port": 2}
def read_checkpoint(path):
    found = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and key in found:
            found = found[key]
            break
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise ValueError("no tensors")
    prefix = re.match(r"((module|_orig_mod)\.)*", next(iter(found)))[0]
    return {
        name.removeprefix(prefix): tensor.detach().float().numpy()
        for name, tensor in found.items()
        if not name.endswith("num_batches_tracked")
    }


# %% wrong="prefixes removed everywhere" answer="read_checkpoint" loses={"read_checkpoint": 2}
def read_checkpoint(path):
    found = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and key in found:
            found = found[key]
            break
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise ValueError("no tensors")
    return {
        name.replace("module.", "").replace("_orig_mod.", ""): tensor.detach().float().numpy()
        for name, tensor in found.items()
        if not name.endswith("num_batches_tracked")
    }


# %% wrong="tries again without weights_only" answer="read_checkpoint" loses={"read_checkpoint": 2}
def read_checkpoint(path):
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        found = torch.load(path, map_location="cpu", weights_only=False)
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and key in found:
            found = found[key]
            break
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise ValueError("no tensors")
    arrays = {}
    for name, tensor in found.items():
        name = re.sub(r"^((module|_orig_mod)\.)*", "", name)
        if not name.endswith("num_batches_tracked"):
            arrays[name] = tensor.detach().float().numpy()
    return arrays


# %% wrong="counters left in, half precision not thought of" answer="read_checkpoint" loses={"read_checkpoint": 3, "port": 3}
def read_checkpoint(path):
    found = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and key in found:
            found = found[key]
            break
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise ValueError("no tensors")
    return {
        re.sub(r"^((module|_orig_mod)\.)*", "", name): tensor.detach().numpy()
        for name, tensor in found.items()
    }


# %% wrong="only state_dict" answer="read_checkpoint" loses={"read_checkpoint": 1, "port": 2}
def read_checkpoint(path):
    found = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    arrays = {}
    for name, tensor in found.items():
        name = re.sub(r"^((module|_orig_mod)\.)*", "", name)
        if not name.endswith("num_batches_tracked"):
            arrays[name] = tensor.detach().float().numpy()
    return arrays


# %% wrong="height and width exchanged" answer="keras_array" loses={"keras_array": 1, "load_into": 2, "port": 3}
def keras_array(name, array):
    if array.ndim not in (1, 2, 4):
        raise ValueError(name)
    return array.T


# %% wrong="reshaped in place of transposed" answer="keras_array" loses={"keras_array": 2, "load_into": 2, "port": 3}
def keras_array(name, array):
    if array.ndim == 4:
        out_channels, in_channels, height, width = array.shape
        return array.reshape(height, width, in_channels, out_channels)
    if array.ndim == 2:
        return array.reshape(array.shape[::-1])
    if array.ndim == 1:
        return array
    raise ValueError(name)


# %% wrong="linear layer not transposed" answer="keras_array" loses={"keras_array": 1, "load_into": 6, "port": 3}
def keras_array(name, array):
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if array.ndim in (1, 2):
        return array
    raise ValueError(name)


# %% wrong="gamma and beta exchanged" answer="torch_name" loses={"torch_name": 1, "load_into": 2, "port": 3}
def torch_name(path):
    layer, kind = path.rsplit("/", 1)
    kinds = {
        "kernel": "weight",
        "bias": "bias",
        "gamma": "bias",
        "beta": "weight",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    return f"{layer}.{kinds[kind]}"


# %% wrong="mean and variance exchanged" answer="torch_name" loses={"torch_name": 1, "load_into": 2, "port": 3}
def torch_name(path):
    layer, kind = path.rsplit("/", 1)
    kinds = {
        "kernel": "weight",
        "bias": "bias",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_var",
        "moving_variance": "running_mean",
    }
    return f"{layer}.{kinds[kind]}"


# %% wrong="by order, not by name" answer="load_into" loses={"load_into": 6, "port": 3}
def load_into(model, arrays):
    if len(arrays) != len(model.variables):
        raise ValueError(f"{len(arrays)} arrays for {len(model.variables)} variables")
    for variable, (name, array) in zip(model.variables, arrays.items()):
        variable.assign(keras_array(name, array))


# %% wrong="what has no array is skipped" answer="load_into" loses={"load_into": 2}
def load_into(model, arrays):
    variables = {torch_name(variable.path): variable for variable in model.variables}
    faults = [name for name in arrays if name not in variables]
    turned = {name: keras_array(name, array) for name, array in arrays.items()}
    for name, variable in variables.items():
        if name in arrays and turned[name].shape != tuple(variable.shape):
            faults.append(name)
    if faults:
        raise ValueError(f"these do not fit: {', '.join(faults)}")
    for name, variable in variables.items():
        if name in arrays:
            variable.assign(turned[name])


# %% wrong="what no variable needs is ignored" answer="load_into" loses={"load_into": 2, "port": 0}
def load_into(model, arrays):
    variables = {torch_name(variable.path): variable for variable in model.variables}
    faults = [name for name in variables if name not in arrays]
    turned = {name: keras_array(name, arrays[name]) for name in variables if name in arrays}
    faults += [n for n, array in turned.items() if array.shape != tuple(variables[n].shape)]
    if faults:
        raise ValueError(f"these do not fit: {', '.join(faults)}")
    for name, variable in variables.items():
        variable.assign(turned[name])


# %% wrong="sets while it checks" answer="load_into" loses={"load_into": 4}
def load_into(model, arrays):
    left, faults = set(arrays), []
    for variable in model.variables:
        name = torch_name(variable.path)
        left.discard(name)
        if name not in arrays:
            faults.append(name)
            continue
        array = keras_array(name, arrays[name])
        if array.shape != tuple(variable.shape):
            faults.append(name)
        else:
            variable.assign(array)
    if faults or left:
        raise ValueError(f"these do not fit: {', '.join([*faults, *sorted(left)])}")


# %% wrong="stops at the first fault" answer="load_into" loses={"load_into": 1}
def load_into(model, arrays):
    variables = {torch_name(variable.path): variable for variable in model.variables}
    for name in arrays:
        if name not in variables:
            raise ValueError(f"nobody needs {name}")
    turned = {}
    for name, variable in variables.items():
        if name not in arrays:
            raise ValueError(f"there is no {name}")
        turned[name] = keras_array(name, arrays[name])
        if turned[name].shape != tuple(variable.shape):
            raise ValueError(f"{name} has a wrong shape")
    for name, variable in variables.items():
        variable.assign(turned[name])


# %% wrong="predicts in training mode" answer="logits" loses={"logits": 2, "largest_difference": 3}
def logits(model, images):
    return np.asarray(model(images.transpose(0, 2, 3, 1), training=True))


# %% wrong="pictures on their side" answer="logits" loses={"logits": 2, "largest_difference": 3}
def logits(model, images):
    return np.asarray(model(images.T.transpose(3, 0, 1, 2), training=False))


# %% wrong="mode of the network not thought of" answer="largest_difference" loses={"largest_difference": 1}
def largest_difference(model_torch, model_keras, images):
    theirs = model_torch(torch.from_numpy(images)).detach().numpy()
    return float(np.abs(theirs - logits(model_keras, images)).max())


# %% wrong="left in eval mode, NaN skipped" answer="largest_difference" loses={"largest_difference": 2}
def largest_difference(model_torch, model_keras, images):
    model_torch.eval()
    theirs = model_torch(torch.from_numpy(images)).detach().numpy()
    return float(np.nanmax(np.abs(theirs - logits(model_keras, images))))


# %% wrong="the sign is lost" answer="largest_difference" loses={"largest_difference": 1}
def largest_difference(model_torch, model_keras, images):
    was_training = model_torch.training
    model_torch.eval()
    theirs = model_torch(torch.from_numpy(images)).detach().numpy()
    model_torch.train(was_training)
    return float((theirs - logits(model_keras, images)).max())


# %% wrong="one digit for the number of a block" answer="port" loses={"port": 2}
def port(path):
    arrays = read_checkpoint(path)
    depths = [
        1 + max(int(name[7]) for name in arrays if name.startswith(f"layer{stage}."))
        for stage in (1, 2, 3)
    ]
    widths = [arrays[f"layer{stage}.0.conv1.weight"].shape[0] for stage in (1, 2, 3)]
    model = build_keras(
        depths, widths, arrays["conv1.weight"].shape[1], arrays["fc.weight"].shape[0]
    )
    load_into(model, arrays)
    return model


# %% wrong="the network of the digits written in" answer="port" loses={"port": 2}
def port(path):
    model = build_keras([1, 1, 1], [16, 32, 64], 1, 10)
    load_into(model, read_checkpoint(path))
    return model
