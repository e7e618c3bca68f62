# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# Wrong answers that `selftest` plants: each of the six mistakes left in alone, half repairs, slips in
# the tools; with the points that each must cost. The last ones are repairs that are right as well.

# %% wrong="same left in" answer="build_keras" loses={"convolutions": 2, "whole": 2}
def build_keras():
    """The network in Keras; its layers are called as in PyTorch."""

    def conv(x, out_channels, kernel_size, stride, name):
        return layers.Conv2D(
            out_channels, kernel_size, stride, padding="same", use_bias=False, name=name
        )(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=1 - MOMENTUM, epsilon=1e-5, name=name)(x)

    inputs = keras.Input((24, 16, 3))  # (N, 24, 16, 3)
    x = conv(inputs, 8, 5, 2, "conv1")  # (N, 12, 8, 8)
    x = norm(x, "bn1")
    x = layers.ReLU(name="relu1")(x)
    x = layers.ZeroPadding2D(1)(x)  # (N, 14, 10, 8)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # (N, 6, 4, 8)

    out = conv(x, 16, 3, 2, "layer1.0.conv1")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = conv(out, 16, 3, 1, "layer1.0.conv2")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn2")
    shortcut = conv(x, 16, 1, 2, "layer1.0.downsample.0")  # (N, 3, 2, 16)
    shortcut = norm(shortcut, "layer1.0.downsample.1")
    x = layers.Add(name="layer1.0.add")([out, shortcut])
    x = layers.ReLU(name="layer1.0.relu2")(x)

    x = layers.Permute((3, 1, 2))(x)  # (N, 16, 3, 2): flattened as PyTorch does
    x = layers.Flatten(name="flatten")(x)  # (N, 96)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))  # (N, 10)


# %% wrong="same repaired in conv1 only" answer="build_keras" loses={"convolutions": 2, "whole": 2}
def build_keras():
    """The network in Keras; its layers are called as in PyTorch."""

    def conv(x, out_channels, kernel_size, stride, name):
        if name == "conv1":
            x = layers.ZeroPadding2D(kernel_size // 2)(x)
        return layers.Conv2D(
            out_channels,
            kernel_size,
            stride,
            padding="valid" if name == "conv1" else "same",
            use_bias=False,
            name=name,
        )(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=1 - MOMENTUM, epsilon=1e-5, name=name)(x)

    inputs = keras.Input((24, 16, 3))  # (N, 24, 16, 3)
    x = conv(inputs, 8, 5, 2, "conv1")  # (N, 12, 8, 8)
    x = norm(x, "bn1")
    x = layers.ReLU(name="relu1")(x)
    x = layers.ZeroPadding2D(1)(x)  # (N, 14, 10, 8)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # (N, 6, 4, 8)

    out = conv(x, 16, 3, 2, "layer1.0.conv1")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = conv(out, 16, 3, 1, "layer1.0.conv2")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn2")
    shortcut = conv(x, 16, 1, 2, "layer1.0.downsample.0")  # (N, 3, 2, 16)
    shortcut = norm(shortcut, "layer1.0.downsample.1")
    x = layers.Add(name="layer1.0.add")([out, shortcut])
    x = layers.ReLU(name="layer1.0.relu2")(x)

    x = layers.Permute((3, 1, 2))(x)  # (N, 16, 3, 2): flattened as PyTorch does
    x = layers.Flatten(name="flatten")(x)  # (N, 96)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))  # (N, 10)


# %% wrong="epsilon left in" answer="build_keras" loses={"norms": 2, "whole": 2}
def build_keras():
    """The network in Keras; its layers are called as in PyTorch."""

    def conv(x, out_channels, kernel_size, stride, name):
        x = layers.ZeroPadding2D(kernel_size // 2)(x)
        return layers.Conv2D(
            out_channels, kernel_size, stride, padding="valid", use_bias=False, name=name
        )(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=1 - MOMENTUM, name=name)(x)

    inputs = keras.Input((24, 16, 3))  # (N, 24, 16, 3)
    x = conv(inputs, 8, 5, 2, "conv1")  # (N, 12, 8, 8)
    x = norm(x, "bn1")
    x = layers.ReLU(name="relu1")(x)
    x = layers.ZeroPadding2D(1)(x)  # (N, 14, 10, 8)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # (N, 6, 4, 8)

    out = conv(x, 16, 3, 2, "layer1.0.conv1")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = conv(out, 16, 3, 1, "layer1.0.conv2")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn2")
    shortcut = conv(x, 16, 1, 2, "layer1.0.downsample.0")  # (N, 3, 2, 16)
    shortcut = norm(shortcut, "layer1.0.downsample.1")
    x = layers.Add(name="layer1.0.add")([out, shortcut])
    x = layers.ReLU(name="layer1.0.relu2")(x)

    x = layers.Permute((3, 1, 2))(x)  # (N, 16, 3, 2): flattened as PyTorch does
    x = layers.Flatten(name="flatten")(x)  # (N, 96)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))  # (N, 10)


# %% wrong="momentum left in" answer="build_keras" loses={"training": 2, "whole": 1}
def build_keras():
    """The network in Keras; its layers are called as in PyTorch."""

    def conv(x, out_channels, kernel_size, stride, name):
        x = layers.ZeroPadding2D(kernel_size // 2)(x)
        return layers.Conv2D(
            out_channels, kernel_size, stride, padding="valid", use_bias=False, name=name
        )(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=MOMENTUM, epsilon=1e-5, name=name)(x)

    inputs = keras.Input((24, 16, 3))  # (N, 24, 16, 3)
    x = conv(inputs, 8, 5, 2, "conv1")  # (N, 12, 8, 8)
    x = norm(x, "bn1")
    x = layers.ReLU(name="relu1")(x)
    x = layers.ZeroPadding2D(1)(x)  # (N, 14, 10, 8)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # (N, 6, 4, 8)

    out = conv(x, 16, 3, 2, "layer1.0.conv1")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = conv(out, 16, 3, 1, "layer1.0.conv2")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn2")
    shortcut = conv(x, 16, 1, 2, "layer1.0.downsample.0")  # (N, 3, 2, 16)
    shortcut = norm(shortcut, "layer1.0.downsample.1")
    x = layers.Add(name="layer1.0.add")([out, shortcut])
    x = layers.ReLU(name="layer1.0.relu2")(x)

    x = layers.Permute((3, 1, 2))(x)  # (N, 16, 3, 2): flattened as PyTorch does
    x = layers.Flatten(name="flatten")(x)  # (N, 96)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))  # (N, 10)


# %% wrong="momentum of the tutorial" answer="build_keras" loses={"training": 2, "whole": 1}
def build_keras():
    """The network in Keras; its layers are called as in PyTorch."""

    def conv(x, out_channels, kernel_size, stride, name):
        x = layers.ZeroPadding2D(kernel_size // 2)(x)
        return layers.Conv2D(
            out_channels, kernel_size, stride, padding="valid", use_bias=False, name=name
        )(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    inputs = keras.Input((24, 16, 3))  # (N, 24, 16, 3)
    x = conv(inputs, 8, 5, 2, "conv1")  # (N, 12, 8, 8)
    x = norm(x, "bn1")
    x = layers.ReLU(name="relu1")(x)
    x = layers.ZeroPadding2D(1)(x)  # (N, 14, 10, 8)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # (N, 6, 4, 8)

    out = conv(x, 16, 3, 2, "layer1.0.conv1")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = conv(out, 16, 3, 1, "layer1.0.conv2")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn2")
    shortcut = conv(x, 16, 1, 2, "layer1.0.downsample.0")  # (N, 3, 2, 16)
    shortcut = norm(shortcut, "layer1.0.downsample.1")
    x = layers.Add(name="layer1.0.add")([out, shortcut])
    x = layers.ReLU(name="layer1.0.relu2")(x)

    x = layers.Permute((3, 1, 2))(x)  # (N, 16, 3, 2): flattened as PyTorch does
    x = layers.Flatten(name="flatten")(x)  # (N, 96)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))  # (N, 10)


# %% wrong="flatten order left in" answer="build_keras" loses={"logits": 2, "whole": 1}
def build_keras():
    """The network in Keras; its layers are called as in PyTorch."""

    def conv(x, out_channels, kernel_size, stride, name):
        x = layers.ZeroPadding2D(kernel_size // 2)(x)
        return layers.Conv2D(
            out_channels, kernel_size, stride, padding="valid", use_bias=False, name=name
        )(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=1 - MOMENTUM, epsilon=1e-5, name=name)(x)

    inputs = keras.Input((24, 16, 3))  # (N, 24, 16, 3)
    x = conv(inputs, 8, 5, 2, "conv1")  # (N, 12, 8, 8)
    x = norm(x, "bn1")
    x = layers.ReLU(name="relu1")(x)
    x = layers.ZeroPadding2D(1)(x)  # (N, 14, 10, 8)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # (N, 6, 4, 8)

    out = conv(x, 16, 3, 2, "layer1.0.conv1")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = conv(out, 16, 3, 1, "layer1.0.conv2")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn2")
    shortcut = conv(x, 16, 1, 2, "layer1.0.downsample.0")  # (N, 3, 2, 16)
    shortcut = norm(shortcut, "layer1.0.downsample.1")
    x = layers.Add(name="layer1.0.add")([out, shortcut])
    x = layers.ReLU(name="layer1.0.relu2")(x)

    x = layers.Flatten(name="flatten")(x)  # (N, 96)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))  # (N, 10)


# %% wrong="reshaped in place of permuted" answer="build_keras" loses={"logits": 2, "whole": 1}
def build_keras():
    """The network in Keras; its layers are called as in PyTorch."""

    def conv(x, out_channels, kernel_size, stride, name):
        x = layers.ZeroPadding2D(kernel_size // 2)(x)
        return layers.Conv2D(
            out_channels, kernel_size, stride, padding="valid", use_bias=False, name=name
        )(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=1 - MOMENTUM, epsilon=1e-5, name=name)(x)

    inputs = keras.Input((24, 16, 3))  # (N, 24, 16, 3)
    x = conv(inputs, 8, 5, 2, "conv1")  # (N, 12, 8, 8)
    x = norm(x, "bn1")
    x = layers.ReLU(name="relu1")(x)
    x = layers.ZeroPadding2D(1)(x)  # (N, 14, 10, 8)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # (N, 6, 4, 8)

    out = conv(x, 16, 3, 2, "layer1.0.conv1")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = conv(out, 16, 3, 1, "layer1.0.conv2")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn2")
    shortcut = conv(x, 16, 1, 2, "layer1.0.downsample.0")  # (N, 3, 2, 16)
    shortcut = norm(shortcut, "layer1.0.downsample.1")
    x = layers.Add(name="layer1.0.add")([out, shortcut])
    x = layers.ReLU(name="layer1.0.relu2")(x)

    x = layers.Reshape((16, 3, 2))(x)  # (N, 16, 3, 2): flattened as PyTorch does
    x = layers.Flatten(name="flatten")(x)  # (N, 96)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))  # (N, 10)


# %% wrong="height and width left exchanged" answer="load_keras" loses={"convolutions": 2, "whole": 2}
def load_keras(model, arrays):
    """Put arrays with PyTorch's names and layouts into the model of build_keras."""
    for layer in model.layers:
        name = layer.name
        if isinstance(layer, layers.Conv2D):
            layer.kernel.assign(arrays[f"{name}.weight"].T)
        elif isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(arrays[f"{name}.weight"])
            layer.beta.assign(arrays[f"{name}.bias"])
            layer.moving_mean.assign(arrays[f"{name}.running_mean"])
            layer.moving_variance.assign(arrays[f"{name}.running_var"])
        elif isinstance(layer, layers.Dense):
            layer.kernel.assign(arrays[f"{name}.weight"].T)
            layer.bias.assign(arrays[f"{name}.bias"])


# %% wrong="colours left in" answer="preprocess_keras" loses={"input": 2, "whole": 2}
def preprocess_keras(pixels):
    """Pixels (N, H, W, 3), whole numbers, red first -> the input of the port, (N, H, W, 3)."""
    return (pixels[..., ::-1].astype("float32") / 255 - MEAN) / STD


# %% wrong="means turned as well" answer="preprocess_keras" loses={"input": 2, "whole": 2}
def preprocess_keras(pixels):
    """Pixels (N, H, W, 3), whole numbers, red first -> the input of the port, (N, H, W, 3)."""
    return (pixels[..., ::-1].astype("float32") / 255 - MEAN[::-1]) / STD[::-1]


# %% wrong="no memory of its own" answer="activations_torch" loses={"activations": 1}
def activations_torch(model, images):
    """Name -> what the layer of the PyTorch model puts out, in evaluation mode."""
    seen = {"input": images.copy()}
    modules = dict(model.named_modules())

    def watch(name):
        def keep(module, inputs, output):
            seen[name] = output.detach().numpy()

        return modules[name].register_forward_hook(keep)

    handles = [watch(name) for name in LAYERS]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        model(torch.from_numpy(images))
    model.train(was_training)
    for handle in handles:
        handle.remove()
    return {name: seen[name] for name in ["input", *LAYERS]}


# %% wrong="evaluation mode forgotten" answer="activations_torch" loses={"activations": 1}
def activations_torch(model, images):
    """Name -> what the layer of the PyTorch model puts out, in evaluation mode."""
    seen = {"input": images.copy()}
    modules = dict(model.named_modules())

    def watch(name):
        def keep(module, inputs, output):
            seen[name] = output.detach().numpy().copy()

        return modules[name].register_forward_hook(keep)

    handles = [watch(name) for name in LAYERS]
    with torch.no_grad():
        model(torch.from_numpy(images))
    for handle in handles:
        handle.remove()
    return {name: seen[name] for name in ["input", *LAYERS]}


# %% wrong="always left in training mode" answer="activations_torch" loses={"activations": 1}
def activations_torch(model, images):
    """Name -> what the layer of the PyTorch model puts out, in evaluation mode."""
    seen = {"input": images.copy()}
    handles = []
    for name, module in model.named_modules():
        if name in LAYERS:

            def keep(module, inputs, output, name=name):
                seen[name] = output.detach().numpy().copy()

            handles.append(module.register_forward_hook(keep))
    with torch.no_grad():
        model.eval()(torch.from_numpy(images))
    model.train()
    for handle in handles:
        handle.remove()
    return {name: seen[name] for name in ["input", *LAYERS]}


# %% wrong="reshaped activations" answer="activations_keras" loses={"activations": 1}
def activations_keras(model, images):
    """Name -> what the layer of the Keras model puts out, in evaluation mode, as (N, C, H, W)."""
    inside = keras.Model(model.input, [model.get_layer(name).output for name in LAYERS])
    outputs = [images, *inside(images, training=False)]
    seen = {}
    for name, output in zip(["input", *LAYERS], outputs, strict=True):
        array = np.asarray(output)
        seen[name] = (
            array.reshape(len(array), array.shape[3], *array.shape[1:3])
            if array.ndim == 4
            else array
        )
    return seen


# %% wrong="nan slips through" answer="first_difference" loses={"first_difference": 1}
def first_difference(a, b, tolerance):
    """The name of the first layer at which a and b part, or None."""
    for name, left in a.items():
        if name not in b or b[name].shape != left.shape:
            return name
        right = b[name]
        if np.abs(left - right).max() > tolerance * np.abs(left).max():
            return name
    return None


# %% wrong="shapes not compared" answer="first_difference" loses={"first_difference": 1}
def first_difference(a, b, tolerance):
    """The name of the first layer at which a and b part, or None."""
    for name, left in a.items():
        if name not in b:
            return name
        right = b[name]
        if not (np.isfinite(left).all() and np.isfinite(right).all()):
            return name
        if np.abs(left - right).max() > tolerance * np.abs(left).max():
            return name
    return None


# %% wrong="absolute tolerance" answer="first_difference" loses={"first_difference": 1}
def first_difference(a, b, tolerance):
    """The name of the first layer at which a and b part, or None."""
    for name, left in a.items():
        if name not in b or b[name].shape != left.shape:
            return name
        right = b[name]
        if not (np.isfinite(left).all() and np.isfinite(right).all()):
            return name
        if np.abs(left - right).max() > tolerance:
            return name
    return None


# %% wrong="keeps the last" answer="first_difference" loses={"first_difference": 1}
def first_difference(a, b, tolerance):
    """The name of the first layer at which a and b part, or None."""
    found = None
    for name, left in a.items():
        if name not in b or b[name].shape != left.shape:
            found = name
            continue
        right = b[name]
        if not (np.isfinite(left).all() and np.isfinite(right).all()):
            found = name
            continue
        if np.abs(left - right).max() > tolerance * np.abs(left).max():
            found = name
            continue
    return found


# %% wrong="variance divided the wrong way" answer="variance_for_keras" loses={"variance_for_keras": 2}
def variance_for_keras(before, after, count, momentum):
    """Keras' moving variance after the step that took PyTorch's running variance to `after`."""
    unbiased = (after - (1 - momentum) * before) / momentum
    biased = unbiased * count / (count - 1)
    return (1 - momentum) * before + momentum * biased


# %% wrong="momentum as Keras counts it" answer="variance_for_keras" loses={"variance_for_keras": 2}
def variance_for_keras(before, after, count, momentum):
    """Keras' moving variance after the step that took PyTorch's running variance to `after`."""
    unbiased = (after - momentum * before) / (1 - momentum)
    biased = unbiased * (count - 1) / count
    return momentum * before + (1 - momentum) * biased


# %% wrong="old variance scaled too" answer="variance_for_keras" loses={"variance_for_keras": 2}
def variance_for_keras(before, after, count, momentum):
    """Keras' moving variance after the step that took PyTorch's running variance to `after`."""
    return after * (count - 1) / count


# %% wrong="right too, fc reordered in load_keras" answer="build_keras" loses={}
def build_keras():
    """The network in Keras; its layers are called as in PyTorch."""

    def conv(x, out_channels, kernel_size, stride, name):
        x = layers.ZeroPadding2D(kernel_size // 2)(x)
        return layers.Conv2D(
            out_channels, kernel_size, stride, padding="valid", use_bias=False, name=name
        )(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=1 - MOMENTUM, epsilon=1e-5, name=name)(x)

    inputs = keras.Input((24, 16, 3))  # (N, 24, 16, 3)
    x = conv(inputs, 8, 5, 2, "conv1")  # (N, 12, 8, 8)
    x = norm(x, "bn1")
    x = layers.ReLU(name="relu1")(x)
    x = layers.ZeroPadding2D(1)(x)  # (N, 14, 10, 8)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # (N, 6, 4, 8)

    out = conv(x, 16, 3, 2, "layer1.0.conv1")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = conv(out, 16, 3, 1, "layer1.0.conv2")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn2")
    shortcut = conv(x, 16, 1, 2, "layer1.0.downsample.0")  # (N, 3, 2, 16)
    shortcut = norm(shortcut, "layer1.0.downsample.1")
    x = layers.Add(name="layer1.0.add")([out, shortcut])
    x = layers.ReLU(name="layer1.0.relu2")(x)

    x = layers.Flatten(name="flatten")(x)  # (N, 96)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))  # (N, 10)


# %% wrong="right too, fc reordered in load_keras" answer="load_keras" loses={}
def load_keras(model, arrays):
    """Put arrays with PyTorch's names and layouts into the model of build_keras."""
    for layer in model.layers:
        name = layer.name
        if isinstance(layer, layers.Conv2D):
            layer.kernel.assign(arrays[f"{name}.weight"].transpose(2, 3, 1, 0))
        elif isinstance(layer, layers.BatchNormalization):
            layer.gamma.assign(arrays[f"{name}.weight"])
            layer.beta.assign(arrays[f"{name}.bias"])
            layer.moving_mean.assign(arrays[f"{name}.running_mean"])
            layer.moving_variance.assign(arrays[f"{name}.running_var"])
        elif isinstance(layer, layers.Dense):
            layer.kernel.assign(
                arrays[f"{name}.weight"].reshape(10, 16, 3, 2).transpose(2, 3, 1, 0).reshape(96, 10)
            )
            layer.bias.assign(arrays[f"{name}.bias"])


# %% wrong="right too, epsilon set after loading" answer="build_keras" loses={}
def build_keras():
    """The network in Keras; its layers are called as in PyTorch."""

    def conv(x, out_channels, kernel_size, stride, name):
        x = layers.ZeroPadding2D(kernel_size // 2)(x)
        return layers.Conv2D(
            out_channels, kernel_size, stride, padding="valid", use_bias=False, name=name
        )(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=1 - MOMENTUM, name=name)(x)

    inputs = keras.Input((24, 16, 3))  # (N, 24, 16, 3)
    x = conv(inputs, 8, 5, 2, "conv1")  # (N, 12, 8, 8)
    x = norm(x, "bn1")
    x = layers.ReLU(name="relu1")(x)
    x = layers.ZeroPadding2D(1)(x)  # (N, 14, 10, 8)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)  # (N, 6, 4, 8)

    out = conv(x, 16, 3, 2, "layer1.0.conv1")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = conv(out, 16, 3, 1, "layer1.0.conv2")  # (N, 3, 2, 16)
    out = norm(out, "layer1.0.bn2")
    shortcut = conv(x, 16, 1, 2, "layer1.0.downsample.0")  # (N, 3, 2, 16)
    shortcut = norm(shortcut, "layer1.0.downsample.1")
    x = layers.Add(name="layer1.0.add")([out, shortcut])
    x = layers.ReLU(name="layer1.0.relu2")(x)

    x = layers.Permute((3, 1, 2))(x)  # (N, 16, 3, 2): flattened as PyTorch does
    x = layers.Flatten(name="flatten")(x)  # (N, 96)
    return keras.Model(inputs, layers.Dense(10, name="fc")(x))  # (N, 10)


# %% wrong="right too, epsilon set after loading" answer="load_keras" loses={}
def load_keras(model, arrays):
    """Put arrays with PyTorch's names and layouts into the model of build_keras."""
    for layer in model.layers:
        name = layer.name
        if isinstance(layer, layers.Conv2D):
            layer.kernel.assign(arrays[f"{name}.weight"].transpose(2, 3, 1, 0))
        elif isinstance(layer, layers.BatchNormalization):
            layer.epsilon = 1e-5
            layer.gamma.assign(arrays[f"{name}.weight"])
            layer.beta.assign(arrays[f"{name}.bias"])
            layer.moving_mean.assign(arrays[f"{name}.running_mean"])
            layer.moving_variance.assign(arrays[f"{name}.running_var"])
        elif isinstance(layer, layers.Dense):
            layer.kernel.assign(arrays[f"{name}.weight"].T)
            layer.bias.assign(arrays[f"{name}.bias"])
