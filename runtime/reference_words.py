"""What pictures show, in everyday words: the yardstick of "none of these".

A score means something only next to the scores of words that have nothing to do with the
picture. These are many sides of the visible world, a handful of each kind, so that for any one
picture nearly all of them are wrong. A model must know them: `tiny`, which has seen nothing but
drawn shapes, is measured by drawn shapes.
"""

from __future__ import annotations

_KINDS = {
    "people": "man, woman, boy, girl",
    "clothing": (
        "hat, shoe, dress, coat, glove, necktie, handbag, sunglasses, helmet, sock, scarf, necklace"
    ),
    "mammals": (
        "dog, cat, horse, cow, sheep, pig, goat, deer, elephant, bear, lion, monkey, "
        "rabbit, mouse, whale"
    ),
    "other animals": (
        "bird, owl, duck, chicken, fish, shark, snake, frog, turtle, butterfly, spider, crab, bee"
    ),
    "plants": "tree, flower, rose, sunflower, mushroom, palm tree, houseplant",
    "town": (
        "house, skyscraper, castle, tower, lighthouse, fountain, stairs, door, window, "
        "sculpture, swimming pool, billboard, street light, tent"
    ),
    "vehicles": (
        "car, truck, bus, train, bicycle, motorcycle, airplane, helicopter, boat, ship, "
        "rocket, parachute, stroller"
    ),
    "on the road": (
        "traffic light, street sign, fire hydrant, wheel, bench, stop sign, parking meter"
    ),
    "furniture": (
        "chair, table, bed, sofa, lamp, mirror, curtain, shelf, clock, pillow, carpet, fireplace"
    ),
    "household": (
        "refrigerator, oven, toaster, washing machine, bathtub, toilet, umbrella, candle, "
        "box, basket, vase"
    ),
    "kitchenware": "cup, plate, bowl, fork, knife, spoon, bottle, frying pan, teapot, wine glass",
    "food": (
        "pizza, bread, cake, hamburger, sandwich, soup, salad, rice, egg, cheese, ice "
        "cream, pasta, sushi, cookie"
    ),
    "fruit and vegetables": (
        "apple, banana, orange, lemon, grape, strawberry, watermelon, pineapple, tomato, "
        "carrot, potato, pumpkin, broccoli"
    ),
    "drinks": "beer, coffee, juice, wine, tea, milk",
    "devices": (
        "laptop, keyboard, telephone, camera, television, microphone, light bulb, "
        "headphones, printer"
    ),
    "paper": "book, newspaper, map, envelope, painting, poster",
    "tools": "hammer, screwdriver, scissors, ladder, bucket, brush, pencil, key",
    "music": "guitar, piano, violin, drum, trumpet",
    "sport": "ball, tennis racket, skateboard, surfboard, skis, kite, basketball, dumbbell",
    "toys and symbols": "doll, teddy bear, dice, balloon, flag, coin, crown, trophy, heart",
    "danger and help": "gun, sword, syringe, wheelchair, skull, ambulance",
}

REFERENCE_WORDS = tuple(word for words in _KINDS.values() for word in words.split(", "))
"""For models of photographs."""

_COLOURS = "red, orange, yellow, green, blue, purple, pink, brown, black, white, gray"
_SHAPES = (
    "circle, square, triangle, diamond, star, cross, ring, heart, hexagon, arrow, drop, flower, "
    "house, tree"
)


def reference_words(model_id: str) -> tuple[str, ...]:
    """R names that the model knows, no two alike."""
    if model_id != "tiny":
        return REFERENCE_WORDS
    return tuple(f"{c} {s}" for c in _COLOURS.split(", ") for s in _SHAPES.split(", "))
