"""A sentence of each language, to try a model on.

From article 1 of the Universal Declaration of Human Rights, which may be copied freely.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

EXAMPLES: Mapping[str, str] = MappingProxyType(
    {
        "ar": "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق.",
        "ceb": "Ang tanang katawhan gipakatawo nga may kagawasan ug managsama sa kabililhon.",
        "cs": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv.",
        "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
        "en": "All human beings are born free and equal in dignity and rights.",
        "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
        "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
        "ha": "Su dai 'yan-adam, ana haifuwarsu ne duka 'yantattu.",
        "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
        "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
        "hr": "Sva ljudska bića rađaju se slobodna i jednaka u dostojanstvu i pravima.",
        "id": "Semua orang dilahirkan merdeka dan mempunyai martabat dan hak-hak yang sama.",
        "it": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti.",
        "mt": "Il-bnedmin kollha jitwieldu ħielsa u ugwali fid-dinjità u d-drittijiet.",
        "nl": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren.",
        "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
        "sk": "Všetci ľudia sa rodia slobodní a sebe rovní, čo sa týka ich dôstojnosti a práv.",
        "sl": "Vsi ljudje se rodijo svobodni in imajo enako dostojanstvo in enake pravice.",
        "sw": "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa.",
        "tl": "Ang lahat ng tao'y isinilang na malaya at pantay-pantay sa karangalan at mga karapatan.",
    }
)
