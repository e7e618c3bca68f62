# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# Wrong answers that `selftest` plants, one at a time: the answer that each replaces, and the points that it must cost.


# %% wrong="stays in evaluation mode" answer="evaluate" loses={"evaluate": 1}
def evaluate(model, images, labels, batch_size=64):
    """The share of images (N, C, H, W) that the model gets right."""
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(labels), batch_size):
            logits = model(images[start : start + batch_size])
            right += (logits.argmax(1) == labels[start : start + batch_size]).sum().item()
    return right / len(labels)


# %% wrong="always ends in training mode" answer="evaluate" loses={"evaluate": 1}
def evaluate(model, images, labels, batch_size=64):
    """The share of images (N, C, H, W) that the model gets right."""
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(labels), batch_size):
            logits = model(images[start : start + batch_size])
            right += (logits.argmax(1) == labels[start : start + batch_size]).sum().item()
    model.train()
    return right / len(labels)


# %% wrong="eval for all images at once, in training mode" answer="evaluate" loses={"evaluate": 2}
def evaluate(model, images, labels, batch_size=64):
    """One large batch hides the symptom."""
    with torch.no_grad():
        logits = model(images)
    return (logits.argmax(1) == labels).float().mean().item()


# %% wrong="the gap moves the running statistics" answer="mode_gap" loses={"evaluate": 1}
def mode_gap(model, images):
    was_training = model.training
    with torch.no_grad():
        evaluation = model.eval()(images)
        training = model.train()(images)
    model.train(was_training)
    return (training - evaluation).abs().max().item()


# %% wrong="loads the old state, and with it the old rate" answer="train_with_drops" loses={"train_with_drops": 2}
def train_with_drops(model, batches, learning_rate, drops, factor=0.1):
    """Trains the model in place; the loss of every step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    losses = []
    model.train()
    for step, (images, labels) in enumerate(batches):
        if step in drops:
            learning_rate *= factor
            state = optimizer.state_dict()
            optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
            optimizer.load_state_dict(state)
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# %% wrong="the rate drops one step late" answer="train_with_drops" loses={"train_with_drops": 2}
def train_with_drops(model, batches, learning_rate, drops, factor=0.1):
    """Trains the model in place; the loss of every step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [d + 1 for d in drops], factor)
    losses = []
    model.train()
    for images, labels in batches:
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


# %% wrong="only the first drop counts" answer="train_with_drops" loses={"train_with_drops": 1}
def train_with_drops(model, batches, learning_rate, drops, factor=0.1):
    """Trains the model in place; the loss of every step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    losses = []
    model.train()
    for step, (images, labels) in enumerate(batches):
        if step in drops:
            optimizer.param_groups[0]["lr"] = learning_rate * factor
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


# %% wrong="adds the lengths" answer="momentum_length" loses={"train_with_drops": 1}
def momentum_length(optimizer):
    buffers = [state["momentum_buffer"] for state in optimizer.state.values()]
    return float(sum(b.norm().item() for b in buffers))


# %% wrong="BatchNorm in front of the projection" answer="BasicBlock" loses={"BasicBlock": 3}
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.BatchNorm2d(in_channels),
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
            )

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out + self.downsample(x))


# %% wrong="normalises every shortcut" answer="BasicBlock" loses={"BasicBlock": 1}
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out + self.downsample(x))


# %% wrong="normalises with the statistics of the batch only" answer="BasicBlock" loses={"BasicBlock": 2}
class BasicBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if len(self.downsample):
            x = self.downsample[0](x)
            x = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
        return torch.relu(out + x)


# %% wrong="no bias anywhere" answer="build_network" loses={"build_network": 4}
def build_network(width, classes, size=8):
    def conv(x, channels, kernel_size, name):
        layer = layers.Conv2D(channels, kernel_size, padding="same", use_bias=False, name=name)
        return layer(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    inputs = keras.Input((size, size, 1), name="images")
    x = layers.ReLU(name="relu1")(norm(conv(inputs, width, 3, "conv1"), "bn1"))
    out = norm(conv(x, width, 3, "layer1.0.conv1"), "layer1.0.bn1")
    out = layers.ReLU(name="layer1.0.relu1")(out)
    out = norm(conv(out, width, 3, "layer1.0.conv2"), "layer1.0.bn2")
    x = layers.ReLU(name="layer1.0.relu2")(layers.Add(name="layer1.0.add")([out, x]))
    x = conv(x, classes, 1, "maps")
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="avgpool")(x))


# %% wrong="forgets the biases on the way" answer="move_weights" loses={"build_network": 2}
def move_weights(old, new):
    for layer in new.layers:
        values = old.get_layer(layer.name).get_weights()
        layer.set_weights(values[: len(layer.weights)])


# %% wrong="adds the bias to the moving mean" answer="move_weights" loses={"build_network": 2}
def move_weights(old, new):
    for layer in new.layers:
        values = old.get_layer(layer.name).get_weights()
        if isinstance(layer, layers.BatchNormalization):
            values[2] = values[2] + old.get_layer(layer.name.replace("bn", "conv")).get_weights()[1]
        layer.set_weights(values[: len(layer.weights)])


# %% wrong="adds the bias to beta" answer="move_weights" loses={"build_network": 2}
def move_weights(old, new):
    for layer in new.layers:
        values = old.get_layer(layer.name).get_weights()
        if isinstance(layer, layers.BatchNormalization):
            values[1] = values[1] + old.get_layer(layer.name.replace("bn", "conv")).get_weights()[1]
        layer.set_weights(values[: len(layer.weights)])


# %% wrong="one place for the whole batch" answer="random_crop" loses={"random_crop": 3}
def random_crop(images, padding, generator):
    _, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    top, left = generator.integers(0, 2 * padding + 1, size=2)
    return padded[:, top : top + height, left : left + width].copy()


# %% wrong="never the last place" answer="random_crop" loses={"random_crop": 1}
def random_crop(images, padding, generator):
    count, height, width, _ = images.shape
    out = np.empty_like(images)
    images = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    tops = generator.integers(0, images.shape[1] - height, size=count)
    lefts = generator.integers(0, images.shape[2] - width, size=count)
    for index, (top, left) in enumerate(zip(tops, lefts)):
        out[index] = images[index, top : top + height, left : left + width]
    return out


# %% wrong="one number for row and column" answer="random_crop" loses={"random_crop": 1}
def random_crop(images, padding, generator):
    count, height, width, _ = images.shape
    out = np.empty_like(images)
    images = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    places = generator.integers(0, 2 * padding + 1, size=count)
    for index, place in enumerate(places):
        out[index] = images[index, place : place + height, place : place + width]
    return out


# %% wrong="pads with the pixels of the edge" answer="random_crop" loses={"random_crop": 3}
def random_crop(images, padding, generator):
    count, height, width, _ = images.shape
    out = np.empty_like(images)
    images = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="edge")
    tops = generator.integers(0, images.shape[1] - height + 1, size=count)
    lefts = generator.integers(0, images.shape[2] - width + 1, size=count)
    for index, (top, left) in enumerate(zip(tops, lefts)):
        out[index] = images[index, top : top + height, left : left + width]
    return out


# %% wrong="does not ask the generator" answer="random_crop" loses={"random_crop": 1}
def random_crop(images, padding, generator):
    count, height, width, _ = images.shape
    out = np.empty_like(images)
    images = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    tops = np.random.randint(0, images.shape[1] - height + 1, size=count)
    lefts = np.random.randint(0, images.shape[2] - width + 1, size=count)
    for index, (top, left) in enumerate(zip(tops, lefts)):
        out[index] = images[index, top : top + height, left : left + width]
    return out


# %% wrong="takes the probabilities as they are" answer="loss_and_gradients" loses={"loss_and_gradients": 1}
def loss_and_gradients(model, images, labels):
    with tf.GradientTape() as tape:
        outputs = keras.ops.softmax(model(images, training=True))
        outputs = keras.ops.clip(outputs, 1e-7, 1.0)
        losses = keras.losses.sparse_categorical_crossentropy(labels, outputs, from_logits=False)
        loss = keras.ops.mean(losses)
    return loss, tape.gradient(loss, model.trainable_weights)


# %% wrong="neither softmax nor from_logits" answer="loss_and_gradients" loses={"loss_and_gradients": 3}
def loss_and_gradients(model, images, labels):
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits)
        loss = keras.ops.mean(losses)
    return loss, tape.gradient(loss, model.trainable_weights)


# %% wrong="the sum instead of the mean" answer="loss_and_gradients" loses={"loss_and_gradients": 3}
def loss_and_gradients(model, images, labels):
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        loss = keras.ops.sum(losses)
    return loss, tape.gradient(loss, model.trainable_weights)


# %% wrong="clips the logits still" answer="loss_and_gradients" loses={"loss_and_gradients": 3}
def loss_and_gradients(model, images, labels):
    with tf.GradientTape() as tape:
        outputs = keras.ops.clip(model(images, training=True), 1e-7, 1.0)
        losses = keras.losses.sparse_categorical_crossentropy(labels, outputs, from_logits=True)
        loss = keras.ops.mean(losses)
    return loss, tape.gradient(loss, model.trainable_weights)


# %% wrong="a float too late" answer="epoch_accuracy" loses={"epoch_accuracy": 3}
def epoch_accuracy(batches):
    right = seen = 0
    for logits, labels in batches:
        right += (logits.argmax(1) == labels).sum().item()
        seen += len(labels)
    return float(100 * right // seen)


def best_epoch(epochs):
    accuracies = [epoch_accuracy(batches) for batches in epochs]
    return accuracies.index(max(accuracies)) + 1


# %% wrong="the mean over the batches" answer="epoch_accuracy" loses={"epoch_accuracy": 1}
def epoch_accuracy(batches):
    shares = [(z.argmax(1) == y).float().mean().item() for z, y in batches]
    return 100 * sum(shares) / len(shares)


def best_epoch(epochs):
    accuracies = [epoch_accuracy(batches) for batches in epochs]
    return accuracies.index(max(accuracies)) + 1


# %% wrong="counted from 0" answer="epoch_accuracy" loses={"epoch_accuracy": 1}
def epoch_accuracy(batches):
    right = seen = 0
    for logits, labels in batches:
        right += (logits.argmax(1) == labels).sum().item()
        seen += len(labels)
    return 100 * right / seen


def best_epoch(epochs):
    accuracies = [epoch_accuracy(batches) for batches in epochs]
    return accuracies.index(max(accuracies))


# %% wrong="shuffles once" answer="make_loader" loses={"make_loader": 2}
def make_loader(images, labels, batch_size, seed):
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    return DataLoader(TensorDataset(images[order], labels[order]), batch_size=batch_size)


# %% wrong="the seed of the whole program" answer="make_loader" loses={"make_loader": 1}
def make_loader(images, labels, batch_size, seed):
    torch.manual_seed(seed)
    return DataLoader(TensorDataset(images, labels), batch_size=batch_size, shuffle=True)


# %% wrong="shuffles images without their labels" answer="make_loader" loses={"make_loader": 2}
def make_loader(images, labels, batch_size, seed):
    generator = torch.Generator().manual_seed(seed)
    data = TensorDataset(images[torch.randperm(len(labels), generator=generator)], labels)
    return DataLoader(data, batch_size=batch_size, shuffle=True, generator=generator)


# %% wrong="counts all classes of the epoch" answer="classes_per_batch" loses={"make_loader": 1}
def classes_per_batch(batches):
    return float(len({int(y) for _, labels in batches for y in labels}))
