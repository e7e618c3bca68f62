"""What the two frameworks share: the layer-spec table and everything that needs neither PyTorch nor Keras.

The package is called `shared` because that is what it is: the one room of the house into which both
`resnet_torch` and `resnet_tf` look. Next to two packages named after their frameworks the plain word
tells a student at once where the common part lives. Importing it loads no framework.

PYTEST_DONT_REWRITE: without this word pytest, started where the package is imported already, warns of it.
"""

__version__ = "0.1.0"
